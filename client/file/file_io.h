#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "client/chunk/chunk_client.h"
#include "client/file/inode_state.h"
#include "client/sheaf.h"

namespace sheaf::client {

// Cuts a file's byte ranges into chunk operations and runs these beside one another.

inline constexpr uint32_t kMaxPiece = 1 << 20;       // bytes of one chunk operation
inline constexpr size_t kMaxIo = size_t{1} << 30;    // bytes of one call

// Reads up to the file's length: at most kMaxIo, less is a short read. `done` runs once, perhaps
// before this returns. Waits only for a truncation under way.
void StartRead(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode, uint64_t offset,
               std::span<uint8_t> into, std::chrono::milliseconds timeout, File::IoDone done);

// Writes all of `from` (at most kMaxIo: kTooBig) and raises the file's length. On an error what
// may have been written counts towards the length, so that no byte is hidden beyond it.
void StartWrite(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode, uint64_t offset,
                std::span<const uint8_t> from, std::chrono::milliseconds timeout,
                File::IoDone done);

// StartWrite at the end of the file; `*offset` is set to where before `done` runs.
// REQUIRES: inode->append_mutex is held until `done`.
void StartAppend(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode, uint64_t* offset,
                 std::span<const uint8_t> from, std::chrono::milliseconds timeout,
                 File::IoDone done);

}  // namespace sheaf::client
