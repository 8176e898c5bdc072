#include "storage/replica/resync.h"

#include <algorithm>
#include <utility>

#include "storage/replica/planted.h"

namespace sheaf::storage {
namespace {

bool Same(const ChunkFacts& a, const ChunkFacts& b) {
  if (Planted(Bug::kResyncByVersion)) return a.chunk == b.chunk && a.version == b.version;
  return a == b;
}

// Through where both pages tell everything; absent: to the end of the range.
std::optional<ChunkId> ToldThrough(const ListPair& lists) {
  std::optional<ChunkId> through;
  for (const ListPage* page : {&lists.here, &lists.there}) {
    if (page->end || page->chunks.empty()) continue;
    const ChunkId last = page->chunks.back().chunk;
    if (!through || last < *through) through = last;
  }
  return through;
}

struct Difference {
  ChunkId chunk;
  const ChunkFacts* here = nullptr;  // null: only there
  bool is_there = false;
};

std::vector<Difference> Compare(const ListPair& lists, const std::optional<ChunkId>& through) {
  std::vector<Difference> differences;
  auto here = lists.here.chunks.begin();
  auto there = lists.there.chunks.begin();
  const auto here_end = lists.here.chunks.end();
  const auto there_end = lists.there.chunks.end();
  while (here != here_end || there != there_end) {
    const bool only_here = there == there_end || (here != here_end && here->chunk < there->chunk);
    const bool only_there = here == here_end || (there != there_end && there->chunk < here->chunk);
    const ChunkId chunk = only_there ? there->chunk : here->chunk;
    if (through && chunk > *through) break;
    if (only_there) {
      differences.push_back({chunk, nullptr, true});
    } else if (only_here || !Same(*here, *there)) {
      differences.push_back({chunk, &*here, !only_here});
    }
    if (!only_there) ++here;
    if (!only_here) ++there;
  }
  return differences;
}

// Of a page told through `last`, as much as is made the same at once.
std::optional<ChunkId> EndOfWindow(const std::vector<Difference>& differences,
                                   const std::optional<ChunkId>& last) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < differences.size(); ++i) {
    if (differences[i].here != nullptr) bytes += differences[i].here->length;
    const bool too_much = bytes > Resync::kWindowBytes || i == Resync::kWindowChunks;
    if (i > 0 && too_much) return differences[i - 1].chunk;
  }
  return last;
}

}  // namespace

void Resync::Begin() {
  Stop();
  progress_ = {};
  Scan();
}

void Resync::Stop() {
  phase_ = Phase::kIdle;
  ++step_;
  cursor_.reset();
  passed_all_ = anew_ = false;
  window_.reset();
  to_copy_.clear();
  to_remove_.clear();
}

Resync::Reach Resync::ReachOf(const ChunkId& chunk) const {
  if (passed_all_ || (cursor_ && chunk <= *cursor_)) return Reach::kMirror;
  return window_ && window_->Contains(chunk) ? Reach::kHold : Reach::kSkip;
}

void Resync::Scan() {
  phase_ = Phase::kScan;
  host_.ListBoth({++step_, {cursor_, std::nullopt}, kPage});
}

void Resync::OnLists(uint64_t step, const Result<ListPair>& lists) {
  if (step != step_) return;
  if (!lists.ok()) return Pause();
  if (phase_ == Phase::kScan) return ChooseWindow(*lists);
  if (phase_ == Phase::kRecheck) CompareWindow(*lists);
}

void Resync::ChooseWindow(const ListPair& lists) {
  const std::optional<ChunkId> last = ToldThrough(lists);
  host_.WindowOpens();
  window_ = ChunkRange{cursor_, EndOfWindow(Compare(lists, last), last)};
  phase_ = Phase::kQuiet;
  OnCommitted();
}

void Resync::OnCommitted() {
  if (phase_ != Phase::kQuiet || !host_.IsQuiet(*window_)) return;
  phase_ = Phase::kRecheck;
  host_.ListBoth({++step_, *window_, kPage});
}

void Resync::CompareWindow(const ListPair& lists) {
  // More has come than a page tells, or than is made the same at once: a smaller window.
  const std::optional<ChunkId> through = ToldThrough(lists);
  const std::vector<Difference> differences = Compare(lists, through);
  window_->last = EndOfWindow(differences, through ? through : window_->last);
  for (const Difference& difference : differences) {
    if (window_->last && difference.chunk > *window_->last) break;
    if (difference.here == nullptr) {
      to_remove_.push_back(difference.chunk);
    } else {
      to_copy_.push_back({*difference.here, difference.is_there});
    }
  }
  progress_.compared += lists.here.chunks.size();
  phase_ = Phase::kCopy;
  NextCopy();
}

void Resync::NextCopy() {
  if (!to_remove_.empty()) {
    progress_.removed += to_remove_.size();
    host_.RemoveChunks({++step_, std::exchange(to_remove_, {})});
    return;
  }
  if (to_copy_.empty()) return CloseWindow();
  for (const ChunkCopy& copy : to_copy_) progress_.copied_bytes += copy.chunk.length;
  progress_.copied += to_copy_.size();
  host_.CopyChunks({++step_, std::exchange(to_copy_, {})});
}

void Resync::OnStep(uint64_t step, const Status& status) {
  if (step != step_) return;
  if (!status.ok()) {
    anew_ = phase_ == Phase::kStreams && status.code() == Code::kCorrupt;
    return Pause();
  }
  if (phase_ == Phase::kCopy) return NextCopy();
  if (phase_ == Phase::kStreams) phase_ = Phase::kDone;
}

void Resync::CloseWindow() {
  cursor_ = window_->last;
  passed_all_ = !window_->last.has_value();
  progress_.cursor = cursor_;
  window_.reset();
  if (passed_all_) {
    phase_ = Phase::kStreams;
    host_.WindowMoved();
    if (phase_ == Phase::kStreams) host_.SendStreams(++step_);
    return;
  }
  phase_ = Phase::kPause;  // WindowMoved may lead to OnCommitted
  host_.WindowMoved();
  Scan();
}

// Nothing is held meanwhile.
void Resync::Pause() {
  ++step_;
  phase_ = Phase::kPause;
  to_copy_.clear();
  to_remove_.clear();
  if (!window_) return;
  window_.reset();
  host_.WindowMoved();
}

void Resync::GiveWay() {
  if (phase_ == Phase::kQuiet) Pause();
}

void Resync::Tick() {
  if (phase_ != Phase::kPause) return;
  if (anew_) return Begin();
  if (!passed_all_) return Scan();
  phase_ = Phase::kStreams;
  host_.SendStreams(++step_);
}

}  // namespace sheaf::storage
