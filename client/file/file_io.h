#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "client/chunk/chunk_client.h"
#include "client/file/inode_state.h"
#include "client/file/write_behind.h"
#include "client/sheaf.h"

namespace sheaf::client {

// Cuts a file's byte ranges into chunk operations and runs these beside one another.

inline constexpr size_t kMaxIo = size_t{1} << 30;  // bytes of one call

// What reads and writes go through.
struct DataPath {
  ChunkClient& chunks;
  WriteBehind& behind;
  std::chrono::milliseconds timeout;  // for a truncation under way
};

// Reads up to the file's length: at most kMaxIo, less is a short read. Sees what is buffered here.
// `done` runs once, perhaps before this returns. Waits only for a truncation under way.
void StartRead(DataPath path, const std::shared_ptr<InodeState>& inode, uint64_t offset,
               std::span<uint8_t> into, File::IoDone done);

// Writes all of `from` (at most kMaxIo: kTooBig) to the chains and raises the file's length. On an
// error what may have been written counts towards the length, so that no byte is hidden beyond it.
// Waits for a truncation under way and for what is buffered of the range.
void StartWrite(DataPath path, const std::shared_ptr<InodeState>& inode, uint64_t offset,
                std::span<const uint8_t> from, File::IoDone done);
// The same where the gate is entered already; it is left when `done` runs.
void StartWriteEntered(DataPath path, const std::shared_ptr<InodeState>& inode, uint64_t offset,
                       std::span<const uint8_t> from, File::IoDone done);

// kFileTooBig when the range ends past the largest file.
Status CheckFileRange(InodeId inode, uint64_t offset, size_t size);

}  // namespace sheaf::client
