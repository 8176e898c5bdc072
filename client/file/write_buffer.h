#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

namespace sheaf::client {

// What was written to one file and is not durable yet. Bookkeeping only: no I/O, no clock, no lock.
//
// A byte is *dirty* (in memory, not sent), or *under way* (sent, not answered), or both when it was
// written again meanwhile. The unit of sending is the *piece*: a fixed, aligned part of the file.
//
// 1. Dirty ranges of a piece are disjoint.
// 2. A piece with something under way is not taken: so at most one write is under way for any
//    byte, and writes reach the chain in the order in which they were made.
// 3. A read sees dirty bytes over those under way.
//
// Marks number the writes from 1. "Through a mark" means: made at it or before.
class WriteBuffer {
 public:
  using Bytes = std::vector<uint8_t>;

  // What the bookkeeping of a range costs, so that many small ones are counted, too.
  static constexpr size_t kRangeOverhead = 128;

  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  // A range to be sent; every one is to be answered by one Answered.
  struct Outgoing {
    uint64_t offset = 0;
    std::shared_ptr<const Bytes> bytes;
  };

  // `piece`: bytes, a power of two.
  explicit WriteBuffer(uint32_t piece) : piece_(piece) {}

  void Write(uint64_t offset, std::span<const uint8_t> from);
  // Copies what is held of the range; answers what is not, in order.
  std::vector<Range> Read(uint64_t offset, std::span<uint8_t> into) const;

  // Takes pieces to be sent: those that are dirty throughout, or that have been dirty since a write
  // through `mark`; never those with something under way.
  std::vector<Outgoing> Take(uint64_t mark);
  // The write of one range that was taken has been answered, well or not.
  void Answered(uint64_t offset);

  // A write that goes past the buffer: until it ends, its pieces are not taken.
  // REQUIRES: !Holds(range)
  void BeginThrough(const Range& range);
  void EndThrough(const Range& range);

  // Drops what is dirty at `end` and beyond. What is under way stays until it is answered.
  void CutBeyond(uint64_t end);

  // Of the latest write.
  uint64_t mark() const { return mark_; }
  // Whether something written through `mark` is dirty or under way.
  bool HoldsThrough(uint64_t mark) const;
  // Whether something of the pieces that `range` touches is dirty or under way.
  bool Holds(const Range& range) const;
  bool empty() const { return dirty_since_.empty() && sent_since_.empty(); }
  bool has_dirty() const { return !dirty_since_.empty(); }
  bool has_under_way() const { return !sent_since_.empty(); }
  // Of the last byte held; 0: none.
  uint64_t end() const;
  // Bytes of memory that count, those under way included.
  size_t memory() const { return memory_; }

 private:
  struct Piece {
    std::map<uint64_t, Bytes> dirty;  // by offset in the file
    uint64_t dirty_bytes = 0;
    uint64_t dirty_since = 0;  // mark of the first write of what is dirty; 0: nothing is
    std::map<uint64_t, std::shared_ptr<const Bytes>> sent;
    size_t unanswered = 0;
    uint64_t sent_since = 0;  // mark of the first write of what is under way
    size_t through = 0;

    bool IsUnused() const { return dirty.empty() && unanswered == 0 && through == 0; }
    bool MayBeTaken() const { return unanswered == 0 && through == 0; }
  };
  using Pieces = std::map<uint64_t, Piece>;  // by index

  void WriteInPiece(Piece& piece, uint64_t offset, std::span<const uint8_t> from);
  void Fill(Piece& piece, uint64_t offset, std::span<const uint8_t> gap);
  void Take(uint64_t index, Piece& piece, std::vector<Outgoing>& out);
  void NoteNotDirty(Piece& piece);
  void CutPiece(Piece& piece, uint64_t end);

  const uint32_t piece_;
  Pieces pieces_;
  uint64_t mark_ = 0;
  std::map<uint64_t, uint64_t> dirty_since_;  // mark -> piece
  std::set<uint64_t> sent_since_;
  std::set<uint64_t> full_;  // pieces that are dirty throughout
  size_t memory_ = 0;
};

}  // namespace sheaf::client
