#pragma once

#include <cstdint>

#include "common/status.h"
#include "meta/ops/op_context.h"
#include "meta/schema/values.h"
#include "proto/meta.pb.h"

// The length of a regular file: truncation, writers' reports, and who has it open for writing. All
// change `file` without storing it.

namespace sheaf::meta {

// Sets the length as ops.h says of Truncate; stamps times and drops privilege bits. The caller's
// right to write is checked already. kBusy when it would extend a file whose tail is still being
// trimmed.
Status TruncateFile(OpContext& ctx, const proto::Caller& caller, Inode& file, uint64_t size);

// Raises the length to what a writer reports, if its report is of the inode's size epoch.
Status ApplyReport(OpContext& ctx, const proto::Caller& caller, const proto::LengthReport& report,
                   Inode& file);
// Raises the length to `length`; kBusy as above.
Status RaiseLength(OpContext& ctx, uint64_t length, Inode& file);

// Takes `bytes` at the end for an append: behind the length, the last reservation and
// `known_length`, what the caller has written itself. Answers where. kBusy as above, kFileTooBig.
Result<uint64_t> ReserveAtEnd(OpContext& ctx, uint64_t known_length, uint64_t bytes, Inode& file);

// One more, one fewer of the request's session's handles that may write. An end without a beginning
// does nothing.
Status BeginWriteOpen(OpContext& ctx, Inode& file);
Status EndWriteOpen(OpContext& ctx, Inode& file);
// Whether the request's session has the file open for writing.
Result<bool> HasWriteOpen(const OpContext& ctx, InodeId file);

}  // namespace sheaf::meta
