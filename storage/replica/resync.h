#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/ids.h"
#include "common/status.h"

namespace sheaf::storage {

// What two replicas compare of a chunk. Numbers alone would not do: after histories that parted,
// the same version can name other bytes.
struct ChunkFacts {
  ChunkId chunk;
  uint32_t length = 0;
  ChunkVersion version;
  ChainVersion chain_version;
  uint32_t checksum = 0;
  uint32_t chunk_size = 0;
  friend bool operator==(const ChunkFacts&, const ChunkFacts&) = default;
};

// Chunks after `after` (absent: from the first) through `last` (absent: to the end).
struct ChunkRange {
  std::optional<ChunkId> after;
  std::optional<ChunkId> last;
  bool Contains(const ChunkId& chunk) const {
    return (!after || chunk > *after) && (!last || chunk <= *last);
  }
};

struct ListStep {
  uint64_t step = 0;
  ChunkRange range;
  uint32_t limit = 0;
};
struct ListPage {
  std::vector<ChunkFacts> chunks;
  bool end = false;  // nothing of the range follows
};
struct ListPair {
  ListPage here;
  ListPage there;
};
struct ChunkCopy {
  ChunkFacts chunk;  // as it is here
  bool is_there = false;
};
struct CopyStep {
  uint64_t step = 0;
  std::vector<ChunkCopy> chunks;
};
struct RemoveStep {
  uint64_t step = 0;
  std::vector<ChunkId> chunks;
};

// What Resync wants done; steps are answered by OnLists and OnStep.
class ResyncHost {
 public:
  virtual ~ResyncHost() = default;
  virtual void ListBoth(const ListStep& step) = 0;
  virtual void CopyChunks(const CopyStep& step) = 0;
  virtual void RemoveChunks(const RemoveStep& step) = 0;
  virtual void SendStreams(uint64_t step) = 0;
  // Whether no change of the range is under way, but those that wait for its copy.
  virtual bool IsQuiet(const ChunkRange& range) = 0;
  // Changes that come from now on may have to wait for a copy.
  virtual void WindowOpens() = 0;
  // What waited for a copy may go on.
  virtual void WindowMoved() = 0;
};

// Brings a member up to date, from the last serving one. Pure.
//
// It goes through the chunks in id order. Behind the cursor the two hold the same, and changes are
// mirrored; before it they are skipped, since the copy will bring them. Between the cursor and the
// end of the *window* they wait: the window is compared, made the same, and then passed. What differs
// in a window is one chunk, or several of kWindowBytes together (the default size of one), so that
// changes wait for about one copy; more than one, since clients that make small files may make them
// faster than one at a time could be copied, and then this would never end.
//
//   scan     compare a page without holding anything; choose the window
//   quiet    wait until what is under way in it has been committed
//   recheck  compare the window again, now that nothing in it changes
//   copy     copy or remove what differs, then move the cursor
//   streams  after the last window: what clients have done
//
// A step that fails is taken up again, at the next Tick, by a scan from the cursor; a failure at
// the end, where the member says that it lost a change, from the first chunk. Equal chunks cost a
// listing, so a resync that begins anew moves no chunk twice.
class Resync {
 public:
  static constexpr uint32_t kPage = 1024;
  static constexpr uint64_t kWindowBytes = 4 << 20;
  static constexpr size_t kWindowChunks = 64;  // that differ

  explicit Resync(ResyncHost& host) : host_(host) {}

  void Begin();
  void Stop();
  bool IsRunning() const { return phase_ != Phase::kIdle; }
  bool IsDone() const { return phase_ == Phase::kDone; }

  enum class Reach : uint8_t { kMirror, kHold, kSkip };
  Reach ReachOf(const ChunkId& chunk) const;

  void OnLists(uint64_t step, const Result<ListPair>& lists);
  void OnStep(uint64_t step, const Status& status);
  // Something has been committed: the window may be quiet now.
  void OnCommitted();
  // What waits for a copy goes on, if what the window waits for has not come. A new one is chosen
  // at the next Tick.
  void GiveWay();
  void Tick();

  struct Progress {
    uint64_t compared = 0;
    uint64_t copied = 0;
    uint64_t removed = 0;
    uint64_t copied_bytes = 0;
    std::optional<ChunkId> cursor;
  };
  const Progress& progress() const { return progress_; }

 private:
  enum class Phase : uint8_t { kIdle, kScan, kQuiet, kRecheck, kCopy, kStreams, kDone, kPause };

  void Scan();
  void ChooseWindow(const ListPair& lists);
  void CompareWindow(const ListPair& lists);
  void NextCopy();
  void CloseWindow();
  void Pause();

  ResyncHost& host_;
  Phase phase_ = Phase::kIdle;
  uint64_t step_ = 0;
  std::optional<ChunkId> cursor_;  // absent: nothing is passed yet
  bool passed_all_ = false;
  // The member has answered that it lost a change. Otherwise it may have said that it is complete,
  // and nothing may be skipped any more.
  bool anew_ = false;
  std::optional<ChunkRange> window_;
  std::vector<ChunkCopy> to_copy_;
  std::vector<ChunkId> to_remove_;
  Progress progress_;
};

}  // namespace sheaf::storage
