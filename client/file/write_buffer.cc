#include "client/file/write_buffer.h"

#include <algorithm>
#include <cstring>

#include "common/status.h"

namespace sheaf::client {
namespace {

// Copies the part of `bytes`, which are at `at` in the file, that lies in `into` at `offset`.
// Answers it; its length may be 0.
WriteBuffer::Range CopyPart(uint64_t at, const WriteBuffer::Bytes& bytes, uint64_t offset,
                            std::span<uint8_t> into) {
  const uint64_t from = std::max(at, offset);
  const uint64_t to = std::min(at + bytes.size(), offset + into.size());
  if (from >= to) return {};
  std::memcpy(into.data() + (from - offset), bytes.data() + (from - at), to - from);
  return {from, to - from};
}

}  // namespace

void WriteBuffer::Write(uint64_t offset, std::span<const uint8_t> from) {
  while (!from.empty()) {
    const uint64_t index = offset / piece_;
    const size_t part = std::min<uint64_t>(from.size(), piece_ - offset % piece_);
    Piece& piece = pieces_[index];
    ++mark_;
    if (piece.dirty_since == 0) {
      piece.dirty_since = mark_;
      dirty_since_.emplace(mark_, index);
    }
    WriteInPiece(piece, offset, from.first(part));
    if (piece.dirty_bytes == piece_) full_.insert(index);
    offset += part;
    from = from.subspan(part);
  }
}

void WriteBuffer::WriteInPiece(Piece& piece, uint64_t offset, std::span<const uint8_t> from) {
  const uint64_t end = offset + from.size();
  // The first range that may overlap begins before us or is the next one.
  auto next = piece.dirty.upper_bound(offset);
  if (next != piece.dirty.begin()) --next;
  uint64_t at = offset;
  std::vector<Range> gaps;
  for (; next != piece.dirty.end() && next->first < end; ++next) {
    const uint64_t range_end = next->first + next->second.size();
    if (range_end <= at) continue;
    if (next->first > at) gaps.push_back({at, next->first - at});
    const uint64_t begin = std::max(at, next->first);
    const uint64_t stop = std::min(end, range_end);
    std::memcpy(next->second.data() + (begin - next->first), from.data() + (begin - offset),
                stop - begin);
    at = stop;
  }
  if (at < end) gaps.push_back({at, end - at});
  for (const Range& gap : gaps) {
    Fill(piece, gap.offset, from.subspan(gap.offset - offset, gap.length));
  }
}

// Adds bytes where none are dirty: to the range that ends there, or as a new one.
void WriteBuffer::Fill(Piece& piece, uint64_t offset, std::span<const uint8_t> gap) {
  piece.dirty_bytes += gap.size();
  memory_ += gap.size();
  auto next = piece.dirty.lower_bound(offset);
  if (next != piece.dirty.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second.size() == offset) {
      before->second.insert(before->second.end(), gap.begin(), gap.end());
      return;
    }
  }
  memory_ += kRangeOverhead;
  piece.dirty.emplace_hint(next, offset, Bytes(gap.begin(), gap.end()));
}

std::vector<WriteBuffer::Range> WriteBuffer::Read(uint64_t offset, std::span<uint8_t> into) const {
  const uint64_t end = offset + into.size();
  std::vector<Range> held;
  for (auto it = pieces_.lower_bound(offset / piece_);
       it != pieces_.end() && it->first * piece_ < end; ++it) {
    for (const auto& [at, bytes] : it->second.sent) {
      held.push_back(CopyPart(at, *bytes, offset, into));
    }
    for (const auto& [at, bytes] : it->second.dirty) {
      held.push_back(CopyPart(at, bytes, offset, into));
    }
  }
  std::sort(held.begin(), held.end(),
            [](const Range& a, const Range& b) { return a.offset < b.offset; });
  std::vector<Range> gaps;
  uint64_t at = offset;
  for (const Range& range : held) {
    if (range.length == 0) continue;
    if (range.offset > at) gaps.push_back({at, range.offset - at});
    at = std::max(at, range.offset + range.length);
  }
  if (at < end) gaps.push_back({at, end - at});
  return gaps;
}

std::vector<WriteBuffer::Outgoing> WriteBuffer::Take(uint64_t mark) {
  std::vector<uint64_t> wanted(full_.begin(), full_.end());
  for (const auto& [since, index] : dirty_since_) {
    if (since > mark) break;
    if (!full_.contains(index)) wanted.push_back(index);
  }
  std::vector<Outgoing> out;
  for (const uint64_t index : wanted) {
    Piece& piece = pieces_.at(index);
    if (piece.MayBeTaken()) Take(index, piece, out);
  }
  return out;
}

void WriteBuffer::Take(uint64_t index, Piece& piece, std::vector<Outgoing>& out) {
  for (auto it = piece.dirty.begin(); it != piece.dirty.end();) {
    const uint64_t offset = it->first;
    Bytes bytes = std::move(it->second);
    for (++it; it != piece.dirty.end() && it->first == offset + bytes.size(); ++it) {
      bytes.insert(bytes.end(), it->second.begin(), it->second.end());
      memory_ -= kRangeOverhead;
    }
    auto sent = std::make_shared<const Bytes>(std::move(bytes));
    piece.sent.emplace(offset, sent);
    out.push_back({offset, std::move(sent)});
  }
  piece.unanswered = piece.sent.size();
  piece.sent_since = piece.dirty_since;
  sent_since_.insert(piece.sent_since);
  piece.dirty.clear();
  full_.erase(index);
  NoteNotDirty(piece);
}

void WriteBuffer::NoteNotDirty(Piece& piece) {
  dirty_since_.erase(piece.dirty_since);
  piece.dirty_since = 0;
  piece.dirty_bytes = 0;
}

void WriteBuffer::Answered(uint64_t offset) {
  const auto found = pieces_.find(offset / piece_);
  CHECK(found != pieces_.end() && found->second.unanswered > 0,
        "an answer to a write that is not under way");
  Piece& piece = found->second;
  // All of a piece counts until its last answer: its bytes are read from here meanwhile.
  if (--piece.unanswered > 0) return;
  for (const auto& [at, bytes] : piece.sent) memory_ -= bytes->size() + kRangeOverhead;
  piece.sent.clear();
  sent_since_.erase(piece.sent_since);
  piece.sent_since = 0;
  if (piece.IsUnused()) pieces_.erase(found);
}

void WriteBuffer::BeginThrough(const Range& range) {
  for (uint64_t index = range.offset / piece_; index * piece_ < range.offset + range.length;
       ++index) {
    ++pieces_[index].through;
  }
}

void WriteBuffer::EndThrough(const Range& range) {
  for (uint64_t index = range.offset / piece_; index * piece_ < range.offset + range.length;
       ++index) {
    const auto found = pieces_.find(index);
    CHECK(found != pieces_.end() && found->second.through > 0, "no such write under way");
    --found->second.through;
    if (found->second.IsUnused()) pieces_.erase(found);
  }
}

void WriteBuffer::CutBeyond(uint64_t end) {
  for (auto it = pieces_.lower_bound(end / piece_); it != pieces_.end();) {
    CutPiece(it->second, end);
    if (it->second.dirty_bytes < piece_) full_.erase(it->first);
    it = it->second.IsUnused() ? pieces_.erase(it) : std::next(it);
  }
}

void WriteBuffer::CutPiece(Piece& piece, uint64_t end) {
  while (!piece.dirty.empty()) {
    auto last = std::prev(piece.dirty.end());
    const uint64_t range_end = last->first + last->second.size();
    if (range_end <= end) break;
    const uint64_t drop = range_end - std::max(end, last->first);
    piece.dirty_bytes -= drop;
    memory_ -= drop;
    if (drop < last->second.size()) {
      last->second.resize(last->second.size() - drop);
      break;
    }
    memory_ -= kRangeOverhead;
    piece.dirty.erase(last);
  }
  if (piece.dirty.empty() && piece.dirty_since != 0) NoteNotDirty(piece);
}

bool WriteBuffer::HoldsThrough(uint64_t mark) const {
  return (!dirty_since_.empty() && dirty_since_.begin()->first <= mark) ||
         (!sent_since_.empty() && *sent_since_.begin() <= mark);
}

bool WriteBuffer::Holds(const Range& range) const {
  for (auto it = pieces_.lower_bound(range.offset / piece_);
       it != pieces_.end() && it->first * piece_ < range.offset + range.length; ++it) {
    if (!it->second.dirty.empty() || it->second.unanswered > 0) return true;
  }
  return false;
}

uint64_t WriteBuffer::end() const {
  for (auto it = pieces_.rbegin(); it != pieces_.rend(); ++it) {
    const Piece& piece = it->second;
    uint64_t end = 0;
    if (!piece.dirty.empty()) {
      const auto& [at, bytes] = *piece.dirty.rbegin();
      end = at + bytes.size();
    }
    if (!piece.sent.empty()) {
      const auto& [at, bytes] = *piece.sent.rbegin();
      end = std::max(end, at + bytes->size());
    }
    if (end > 0) return end;
  }
  return 0;
}

}  // namespace sheaf::client
