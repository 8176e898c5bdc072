#include "client/file/pieces.h"

#include <algorithm>

namespace sheaf::client {

uint32_t PieceSize(const Layout& layout) {
  return static_cast<uint32_t>(std::min<uint64_t>(kMaxPiece, layout.chunk_size()));
}

ChunkRange FirstPiece(const Layout& layout, uint64_t offset, uint64_t length) {
  const uint64_t to_border = kMaxPiece - offset % kMaxPiece;
  return FirstChunkRange(layout, offset, std::min(length, to_border));
}

size_t CountPieces(const Layout& layout, uint64_t offset, uint64_t length) {
  const uint64_t unit = PieceSize(layout);
  return (offset + length - 1) / unit - offset / unit + 1;
}

ChunkClient::Place PlaceOf(const InodeState::View& view, const ChunkRange& piece) {
  return {.layout = view.layout,
          .chunk = {.data_id = view.data_id, .index = piece.index},
          .offset = piece.offset};
}

bool MayHaveWritten(const Result<size_t>& result) {
  return result.ok() || result.status().code() == Code::kDeadline ||
         result.status().code() == Code::kIo;
}

}  // namespace sheaf::client
