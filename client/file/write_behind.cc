#include "client/file/write_behind.h"

#include <algorithm>
#include <utility>

#include "client/file/pieces.h"
#include "common/log.h"
#include "common/transport/connection.h"

namespace sheaf::client {
namespace {

constexpr size_t kWriteMax = 4 << 20;   // bytes put into memory in one step
constexpr size_t kWriteMin = 64 << 10;  // however little memory there is

}  // namespace

WriteBehind::WriteBehind(const Options& options, ChunkClient& chunks, WriterIdentity& identity)
    : options_(options),
      chunks_(chunks),
      identity_(identity),
      budget_(options.bytes),
      under_way_(size_t{0}),
      timer_([this] { TimerLoop(); }) {}

WriteBehind::~WriteBehind() {
  queue_.Lock()->stopping = true;
  queue_changed_.notify_all();
  timer_.join();
  auto under_way = under_way_.Lock();
  under_way.Wait(idle_, [&] { return *under_way == 0; });  // each ends by its deadline
}

size_t WriteBehind::write_max() const {
  return std::clamp(options_.bytes / 4, kWriteMin, kWriteMax);
}

Result<size_t> WriteBehind::Reserve(size_t size) {
  const size_t cost =
      size + (size / (size_t{1} << kMinChunkSizeLog2) + 2) * WriteBuffer::kRangeOverhead;
  if (budget_.TryReserve(cost)) return cost;
  SendQueued();  // memory is short: nothing waits for company any more
  if (budget_.Reserve(cost, options_.timeout)) return cost;
  return Status(Code::kDeadline, "write: no room in " + std::to_string(options_.bytes) +
                                     " bytes of write-behind memory within " +
                                     std::to_string(options_.timeout.count()) +
                                     " ms; storage takes no writes, see the log");
}

void WriteBehind::Write(const File& file, uint64_t offset, std::span<const uint8_t> from,
                        size_t reserved) {
  const Incarnation session = identity_.incarnation();
  Batch full;
  size_t surplus = 0;
  bool enqueue = false;
  {
    auto state = file->writes.state.Lock();
    const InodeState::View view = file->view();
    if (!state->buffer) state->buffer.emplace(PieceSize(view.layout));
    CheckSession(*file, *state, session);
    if (!state->buffer->has_dirty()) state->incarnation = session;
    state->buffer->Write(offset, from);
    file->NoteBuffered(view.size_epoch, offset + from.size(), Clock::System().WallNanos());
    state->charged += reserved;
    full = Take(*file, *state, session);
    surplus = Surplus(*state);
    enqueue = state->buffer->has_dirty() && !std::exchange(state->queued, true);
  }
  budget_.Release(surplus);
  if (enqueue) Enqueue(file);
  Send(file, std::move(full));
}

std::vector<WriteBuffer::Range> WriteBehind::Read(const InodeState& file, uint64_t offset,
                                                  std::span<uint8_t> into) {
  auto state = file.writes.state.Lock();
  if (state->empty()) return {{offset, into.size()}};
  return state->buffer->Read(offset, into);
}

WriteBehind::Batch WriteBehind::Take(InodeState& file, FileWrites::State& state,
                                     Incarnation session) {
  if (state.paused || !state.buffer || !state.buffer->has_dirty()) return {};
  CheckSession(file, state, session);
  return {.view = file.view(),
          .incarnation = state.incarnation,
          .ranges = state.buffer->Take(state.flush_mark)};
}

void WriteBehind::CheckSession(InodeState& file, FileWrites::State& state, Incarnation session) {
  // Incarnations rise; `session` may be older than what somebody else has seen meanwhile.
  if (!state.buffer->has_dirty() || state.incarnation.value() >= session.value()) return;
  Drop(file, state,
       Status(Code::kFenced, "write back inode " + ToString(file.inode()) + ": session " +
                                 ToString(state.incarnation) +
                                 " ended before it was written; write it again"));
}

void WriteBehind::Drop(InodeState& file, FileWrites::State& state, Status why) {
  state.buffer->CutBeyond(0);
  file.FallBackTo(state.buffer->end());
  LogError("client: {}", why.message());
  state.last_failure = std::move(why);
  ++state.failures;
  file.writes.changed.notify_all();
}

size_t WriteBehind::Surplus(FileWrites::State& state) {
  const size_t needed = state.buffer ? state.buffer->memory() : 0;
  const size_t surplus = state.charged - std::min(state.charged, needed);
  state.charged -= surplus;
  return surplus;
}

void WriteBehind::Send(const File& file, Batch batch) {
  if (batch.ranges.empty()) return;
  if (batch.ranges.size() > 1) transport::ReceivesHere::Forgo();
  *under_way_.Lock() += batch.ranges.size();
  for (WriteBuffer::Outgoing& range : batch.ranges) {
    const ChunkRange piece = FirstPiece(batch.view.layout, range.offset, range.bytes->size());
    DCHECK(piece.length == range.bytes->size());
    const std::span<const uint8_t> bytes = *range.bytes;
    chunks_.Write(PlaceOf(batch.view, piece), bytes,
                  {.under = batch.incarnation, .may_block = false},
                  [this, file, view = batch.view, range](const Result<size_t>& result) {
                    OnAnswer(file, view, range, result);
                  });
  }
}

void WriteBehind::OnAnswer(const File& file, const InodeState::View& view,
                           WriteBuffer::Outgoing range, const Result<size_t>& result) {
  const Incarnation session = identity_.incarnation();
  Batch more;
  size_t surplus = 0;
  {
    auto state = file->writes.state.Lock();
    state->buffer->Answered(range.offset);
    if (MayHaveWritten(result)) {
      file->NoteDurable(view.size_epoch, range.offset + range.bytes->size());
    }
    file->FallBackTo(state->buffer->end());
    if (!result.ok()) {
      state->last_failure = result.status();
      ++state->failures;
    }
    more = Take(*file, *state, session);
    surplus = Surplus(*state);
    file->writes.changed.notify_all();
  }
  if (!result.ok()) {
    LogError("client: write back inode {}: {}", file->inode().value(), result.status().message());
  }
  range.bytes.reset();
  budget_.Release(surplus);
  Send(file, std::move(more));
  auto under_way = under_way_.Lock();
  if (--*under_way == 0) idle_.notify_all();
}

uint64_t WriteBehind::SendAll(const File& file) {
  const Incarnation session = identity_.incarnation();
  Batch batch;
  size_t surplus = 0;
  uint64_t mark = 0;
  {
    auto state = file->writes.state.Lock();
    if (state->buffer) {
      mark = state->flush_mark = state->buffer->mark();
      batch = Take(*file, *state, session);
    }
    surplus = Surplus(*state);
  }
  budget_.Release(surplus);
  Send(file, std::move(batch));
  return mark;
}

Status WriteBehind::Flush(const File& file) {
  uint64_t before = 0;
  InodeState::View view;
  {
    auto state = file->writes.state.Lock();
    before = state->failures;
    view = file->view();
  }
  transport::ReceivesHere here;
  const uint64_t mark = SendAll(file);
  here.Wait();
  auto state = file->writes.state.Lock();
  const auto until = std::chrono::steady_clock::now() + FlushTimeout();
  const bool sent = state.WaitUntil(file->writes.changed, until, [&] {
    return !state->buffer || !state->buffer->HoldsThrough(mark);
  });
  if (!sent) {
    return {Code::kDeadline, "write back inode " + ToString(file->inode()) +
                                 ": what was written is not durable in time; see the log"};
  }
  file->NoteSettled(view.size_epoch, view.length);
  return state->failures == before ? Status::Ok() : state->last_failure;
}

Status WriteBehind::BeginThrough(const File& file, const WriteBuffer::Range& range) {
  const auto until = std::chrono::steady_clock::now() + FlushTimeout();
  do {
    {
      auto state = file->writes.state.Lock();
      if (!state->buffer) state->buffer.emplace(PieceSize(file->view().layout));
      if (!state->buffer->Holds(range)) {
        state->buffer->BeginThrough(range);
        return Status::Ok();
      }
    }
    (void)Flush(file);  // a failure is the handles' to be told; the bytes are gone
  } while (std::chrono::steady_clock::now() < until);
  return {Code::kDeadline, "write inode " + ToString(file->inode()) +
                               ": what is buffered of the same bytes is not durable in time"};
}

void WriteBehind::EndThrough(const File& file, const WriteBuffer::Range& range) {
  const Incarnation session = identity_.incarnation();
  Batch more;
  {
    auto state = file->writes.state.Lock();
    state->buffer->EndThrough(range);
    more = Take(*file, *state, session);
  }
  Send(file, std::move(more));
}

Status WriteBehind::Pause(const File& file) {
  auto state = file->writes.state.Lock();
  state->paused = true;
  const auto until = std::chrono::steady_clock::now() + FlushTimeout();
  const bool idle = state.WaitUntil(file->writes.changed, until, [&] {
    return !state->buffer || !state->buffer->has_under_way();
  });
  if (idle) return Status::Ok();
  return {Code::kDeadline,
          "truncate inode " + ToString(file->inode()) + ": writes under way did not end in time"};
}

void WriteBehind::Resume(const File& file) {
  const Incarnation session = identity_.incarnation();
  Batch more;
  size_t surplus = 0;
  {
    auto state = file->writes.state.Lock();
    state->paused = false;
    more = Take(*file, *state, session);
    surplus = Surplus(*state);
    file->writes.changed.notify_all();  // a truncate may have dropped what somebody waits for
  }
  budget_.Release(surplus);
  Send(file, std::move(more));
}

void WriteBehind::Discard(const File& file) {
  size_t surplus = 0;
  {
    auto state = file->writes.state.Lock();
    if (state->buffer) state->buffer->CutBeyond(0);
    surplus = Surplus(*state);
  }
  budget_.Release(surplus);
}

void WriteBehind::Enqueue(const File& file) {
  queue_.Lock()->files.push_back({Clock::System().Now() + options_.delay, file});
  queue_changed_.notify_one();
}

void WriteBehind::SendQueued() {
  std::deque<Queued> files;
  queue_.Lock()->files.swap(files);
  for (const Queued& queued : files) {
    queued.file->writes.state.Lock()->queued = false;
    SendAll(queued.file);
  }
}

void WriteBehind::TimerLoop() {
  for (;;) {
    File due;
    {
      auto queue = queue_.Lock();
      if (queue->stopping) return;
      if (queue->files.empty()) {
        queue.Wait(queue_changed_, [&] { return queue->stopping || !queue->files.empty(); });
        continue;
      }
      const auto wait = queue->files.front().due - Clock::System().Now();
      if (wait > Clock::Instant::zero()) {
        queue.WaitUntil(queue_changed_, std::chrono::steady_clock::now() + wait,
                        [&] { return queue->stopping; });
        continue;
      }
      due = std::move(queue->files.front().file);
      queue->files.pop_front();
    }
    // Written from here on: queued again.
    due->writes.state.Lock()->queued = false;
    SendAll(due);
  }
}

}  // namespace sheaf::client
