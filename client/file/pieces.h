#pragma once

#include <cstdint>

#include "client/chunk/chunk_client.h"
#include "client/file/inode_state.h"
#include "common/layout.h"

namespace sheaf::client {

// How a file's byte ranges are cut into chunk operations.

inline constexpr uint32_t kMaxPiece = 1 << 20;  // bytes of one chunk operation

// Chunks and pieces are powers of two: the smaller one decides.
uint32_t PieceSize(const Layout& layout);

// The first piece of a range: within one chunk, ending at a multiple of kMaxPiece, so that pieces
// begin where storage blocks do.
ChunkRange FirstPiece(const Layout& layout, uint64_t offset, uint64_t length);
size_t CountPieces(const Layout& layout, uint64_t offset, uint64_t length);

ChunkClient::Place PlaceOf(const InodeState::View& view, const ChunkRange& piece);

// Whether a write that ended like this may have put bytes down: a refusal leaves none, a timeout
// may.
bool MayHaveWritten(const Result<size_t>& result);

}  // namespace sheaf::client
