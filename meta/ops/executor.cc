#include "meta/ops/executor.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "common/guarded.h"
#include "common/log.h"
#include "meta/ops/overlay.h"
#include "meta/ops/result_log.h"
#include "meta/ops/store_format.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

struct Request {
  std::optional<RequestId> id;
  Operation operation;
  Executor::Done done;
  size_t steps = 1;
};

struct Answer {
  Executor::Done done;
  Result<std::string> result;
};

constexpr std::chrono::milliseconds kBetweenRecoveries{250};  // of a store that failed

// An answer that a retry must get again, rather than be executed again. A refusal for want of space
// did nothing, and storing it would take some.
bool IsFinal(const Result<std::string>& result) {
  if (result.status().code() == Code::kNoSpace) return false;
  return result.ok() || result.status().retry() == Retry::kNever;
}

}  // namespace

// Threads: Submit's callers touch queue and the counters; committed is set by the thread that has
// the turn and read by any; the rest is that thread's own, handed on under the queue's lock.
struct Executor::Impl {
  Impl(KvStore& kv, const ExecutorOptions& wanted, ExecutorState last)
      : store(kv), options(wanted), state(last) {
    state.term = options.term;
    Publish();
    thread = std::thread([this] { Loop(); });
  }

  ~Impl() {
    queue.Lock()->stopping = true;
    wake.notify_one();
    thread.join();
  }

  struct Queue {
    std::deque<Request> waiting;
    std::deque<Request> batches;
    bool empty() const { return waiting.empty() && batches.empty(); }
    bool stopping = false;
    bool turn_taken = false;
    bool idle = false;  // the thread sleeps and wants to be woken for what is queued
    bool may_go_on() const { return !turn_taken && (stopping || !empty()); }
  };

  void Submit(Request request);
  void SubmitOrRun(Request request, const std::function<bool()>& may_run);
  bool TakeTurn();
  void EndTurn();
  Status Refusal(const Queue& locked, const Request& request) const;
  void Loop();
  bool TakeGroup(std::vector<Request>& taken);
  bool TakeMore(std::vector<Request>& taken);
  void TakeSingles(Queue& locked, std::vector<Request>& taken);
  void RunGroup(std::vector<Request>& first);
  void Execute(Request& request);
  Result<std::string> ExecuteOnce(OpContext& ctx, const Operation& operation);
  Result<std::string> Call(OpContext& ctx, const Operation& operation);
  void Commit();
  Status CommitBatch();
  Status Reopen();
  Status ReloadState();
  void Publish();
  void RefuseWaiting();
  bool GroupIsFull() const {
    return group_steps >= options.max_group_operations ||
           overlay.bytes() >= options.max_group_bytes;
  }

  KvStore& store;
  const ExecutorOptions options;

  Guarded<Queue> queue;
  std::condition_variable wake;
  Guarded<std::shared_ptr<const ReadView>> committed;

  ExecutorState state;
  Overlay overlay;
  ResultLog results;
  std::vector<Answer> answers;  // of the open group, in order of execution
  size_t group_steps = 0;       // of those
  int64_t last_now_ns = 0;
  Status store_failed;                // since a commit failed and until the store is recovered
  Code refused_recovery = Code::kOk;  // by the last try
  Clock::Instant next_recovery{};
  bool space_short = false;

  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> groups{0};
  std::atomic<uint64_t> lent_turns{0};
  std::atomic<uint64_t> retries{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> commit_failures{0};
  std::atomic<uint64_t> recoveries{0};
  std::atomic<bool> shows_space_short{false};

  bool has_turn = false;  // the executor's thread; its own

  std::thread thread;  // last: everything it uses is there before it starts
};

void Executor::Impl::Submit(Request request) {
  Status refusal;
  bool must_wake = false;
  {
    auto locked = queue.Lock();
    refusal = Refusal(*locked, request);
    if (refusal.ok()) {
      auto& line = request.steps > 1 ? locked->batches : locked->waiting;
      line.push_back(std::move(request));
      // Who has the turn wakes it then.
      must_wake = !locked->turn_taken && std::exchange(locked->idle, false);
    }
  }
  if (must_wake) wake.notify_one();
  if (refusal.ok()) return;
  refused.fetch_add(1, std::memory_order_relaxed);
  request.done(std::move(refusal));
}

void Executor::Impl::SubmitOrRun(Request request, const std::function<bool()>& may_run) {
  if (!TakeTurn()) return Submit(std::move(request));
  if (may_run()) {
    lent_turns.fetch_add(1, std::memory_order_relaxed);
    std::vector<Request> group;
    group.push_back(std::move(request));
    RunGroup(group);
    return EndTurn();
  }
  EndTurn();
  Submit(std::move(request));
}

bool Executor::Impl::TakeTurn() {
  auto locked = queue.Lock();
  if (locked->turn_taken || locked->stopping || !locked->empty()) return false;
  locked->turn_taken = true;
  return true;
}

// Woken under the lock: without it the executor may be gone as soon as the turn is free.
void Executor::Impl::EndTurn() {
  auto locked = queue.Lock();
  locked->turn_taken = false;
  if (!locked->may_go_on()) return;
  locked->idle = false;
  wake.notify_one();
}

Status Executor::Impl::Refusal(const Queue& locked, const Request& request) const {
  if (locked.stopping) return {Code::kUnavailable, "metadata service: stopping"};
  if (request.steps > 1 && locked.batches.size() >= options.max_queue_batches) {
    return {Code::kBusy, "metadata service: " + std::to_string(options.max_queue_batches) +
                             " batches are waiting"};
  }
  if (request.steps == 1 && locked.waiting.size() >= options.max_queue) {
    return {Code::kBusy,
            "metadata service: " + std::to_string(options.max_queue) + " operations are waiting"};
  }
  return Status::Ok();
}

void Executor::Impl::Loop() {
  pthread_setname_np(pthread_self(), "sheaf-executor");
  std::vector<Request> taken;
  while (TakeGroup(taken)) RunGroup(taken);
  RefuseWaiting();
}

// Ends the turn before, if this thread had it. Then waits for something to do, takes the turn and
// moves it into `taken`: single operations, as many as a group may hold, then one batch. False when
// the executor stops.
bool Executor::Impl::TakeGroup(std::vector<Request>& taken) {
  taken.clear();
  auto locked = queue.Lock();
  if (std::exchange(has_turn, false)) locked->turn_taken = false;
  if (!locked->may_go_on()) {
    locked->idle = true;
    // Bounded by the destructor, which sets `stopping`, and by the group of who has the turn.
    locked.Wait(wake, [&] { return locked->may_go_on(); });
    locked->idle = false;
  }
  if (locked->stopping) return false;
  locked->turn_taken = has_turn = true;
  TakeSingles(*locked, taken);
  if (!locked->batches.empty()) {
    taken.push_back(std::move(locked->batches.front()));
    locked->batches.pop_front();
  }
  return true;
}

// The single operations that arrived meanwhile. False when there are none, or the executor stops.
bool Executor::Impl::TakeMore(std::vector<Request>& taken) {
  taken.clear();
  auto locked = queue.Lock();
  if (!locked->stopping) TakeSingles(*locked, taken);
  return !taken.empty();
}

void Executor::Impl::TakeSingles(Queue& locked, std::vector<Request>& taken) {
  const size_t room =
      options.max_group_operations - std::min(options.max_group_operations, group_steps);
  const size_t count = std::min(room, locked.waiting.size());
  const auto end = locked.waiting.begin() + static_cast<ptrdiff_t>(count);
  std::move(locked.waiting.begin(), end, std::back_inserter(taken));
  locked.waiting.erase(locked.waiting.begin(), end);
}

void Executor::Impl::RunGroup(std::vector<Request>& taken) {
  if (const Status usable = Reopen(); !usable.ok()) {
    for (Request& request : taken) request.done(usable.With("commit"));
    return;
  }
  shows_space_short = space_short = store.SpaceIsShort();
  const Clock::Instant deadline = options.clock->Now() + options.max_group_time;
  do {
    for (Request& request : taken) {
      if (GroupIsFull()) Commit();
      Execute(request);
    }
  } while (!GroupIsFull() && options.clock->Now() < deadline && TakeMore(taken));
  Commit();
}

void Executor::Impl::Execute(Request& request) {
  last_now_ns = std::max(last_now_ns, options.clock->WallNanos());
  OpContext ctx(store, overlay, last_now_ns, request.id, space_short);
  answers.push_back({std::move(request.done), ExecuteOnce(ctx, request.operation)});
  group_steps += request.steps;
  operations.fetch_add(request.steps, std::memory_order_relaxed);
}

// An answer from a stored result waits for the group's commit like any other: the result may be of
// this very group.
Result<std::string> Executor::Impl::ExecuteOnce(OpContext& ctx, const Operation& operation) {
  if (!ctx.request()) return Call(ctx, operation);
  ASSIGN_OR_RETURN(auto stored, results.Find(ctx, *ctx.request()));
  if (stored) {
    retries.fetch_add(1, std::memory_order_relaxed);
    return *std::move(stored);
  }
  Result<std::string> result = Call(ctx, operation);
  if (IsFinal(result)) results.Store(ctx, *ctx.request(), result);
  return result;
}

Result<std::string> Executor::Impl::Call(OpContext& ctx, const Operation& operation) {
  overlay.Begin();
  Result<std::string> result = operation(ctx);
  if (!result.ok()) overlay.Rollback();
  return result;
}

// Durability: the synced write comes first, then the view that readers take, then the answers.
//
// When the store is well again at once (a full disk, with space held back), the group may be there
// or not: its callers send the same requests again and stored results tell which. Otherwise they
// get the error.
void Executor::Impl::Commit() {
  Status written = CommitBatch();
  if (!written.ok() && Reopen().ok()) {
    written = {Code::kUnavailable, written.message() + "; the store has recovered, send it again"};
  }
  for (Answer& answer : answers) {
    answer.done(written.ok() ? std::move(answer.result) : written.With("commit"));
  }
  answers.clear();
  group_steps = 0;
}

Status Executor::Impl::CommitBatch() {
  if (overlay.empty()) return Status::Ok();
  const std::string state_key = ExecutorStateKey();
  const std::string state_value = EncodeExecutorState({state.term, state.index + 1});
  std::vector<KvChange> batch = overlay.AsBatch();
  batch.push_back({state_key, state_value});
  const auto begin = std::chrono::steady_clock::now();
  Status written = store.Write(batch, /*sync=*/true);
  if (options.commit_seconds != nullptr) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    options.commit_seconds->Observe(took.count());
  }
  if (written.ok()) {
    ++state.index;
    groups.fetch_add(1, std::memory_order_relaxed);
    Publish();
  } else {
    LogError("commit metadata batch {}: {}", state.index + 1, written.ToString());
    commit_failures.fetch_add(1, std::memory_order_relaxed);
    results.Forget();
    store_failed = written;
    next_recovery = options.clock->Now();
  }
  overlay.Clear();
  return written;
}

// Makes the store usable after a failed commit. Before anything runs on it again: what an operation
// reads must not change when the failed batch turns up.
Status Executor::Impl::Reopen() {
  if (store_failed.ok()) return Status::Ok();
  const Clock::Instant now = options.clock->Now();
  if (now < next_recovery) return store_failed;
  Status recovered = store.Recover();
  if (recovered.ok()) recovered = ReloadState();
  Publish();  // whatever it is: the views from before are gone
  next_recovery = now + kBetweenRecoveries;
  if (!recovered.ok() && recovered.code() != refused_recovery) {
    LogError("the metadata store takes no changes: {}", recovered.ToString());
  }
  refused_recovery = recovered.code();
  store_failed = recovered;
  if (!recovered.ok()) return recovered;
  recoveries.fetch_add(1, std::memory_order_relaxed);
  LogWarn("the metadata store takes changes again, after batch {}", state.index);
  return recovered;
}

// The failed batch may have survived; every batch before it must have.
Status Executor::Impl::ReloadState() {
  ASSIGN_OR_RETURN(const auto row, store.Get(ExecutorStateKey()));
  if (!row) return Status(Code::kCorrupt, "recover metadata store: its state is missing");
  ASSIGN_OR_RETURN(const ExecutorState found, DecodeExecutorState(*row));
  if (found.term == state.term && (found.index == state.index || found.index == state.index + 1)) {
    state = found;
    return Status::Ok();
  }
  return {Code::kCorrupt, "recover metadata store: batch " + std::to_string(state.index) +
                              " was acknowledged, but its last is batch " +
                              std::to_string(found.index) + "; restore it from a backup"};
}

void Executor::Impl::Publish() {
  std::shared_ptr<const ReadView> view = store.Snapshot();
  // The old view's last owner may be this swap: it is released after the lock.
  std::swap(*committed.Lock(), view);
}

void Executor::Impl::RefuseWaiting() {
  Queue left;
  {
    auto locked = queue.Lock();
    left.waiting.swap(locked->waiting);
    left.batches.swap(locked->batches);
  }
  for (auto* line : {&left.waiting, &left.batches}) {
    for (Request& request : *line) {
      request.done(Status(Code::kUnavailable, "metadata service: stopping"));
    }
  }
}

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::Open(KvStore& store, const ExecutorOptions& options) {
  ASSIGN_OR_RETURN(const ExecutorState last, PrepareStore(store, options));
  return std::unique_ptr<Executor>(new Executor(std::make_unique<Impl>(store, options, last)));
}

void Executor::Submit(std::optional<RequestId> id, Operation operation, Done done, size_t steps) {
  impl_->Submit({id, std::move(operation), std::move(done), std::max<size_t>(1, steps)});
}

void Executor::SubmitOrRun(std::optional<RequestId> id, Operation operation, Done done,
                           const std::function<bool()>& may_run) {
  impl_->SubmitOrRun({id, std::move(operation), std::move(done)}, may_run);
}

Result<std::string> Executor::Run(std::optional<RequestId> id, Operation operation,
                                  std::chrono::milliseconds timeout) {
  // Shared: the answer may come after the caller gave up.
  auto promise = std::make_shared<std::promise<Result<std::string>>>();
  std::future<Result<std::string>> answer = promise->get_future();
  Submit(id, std::move(operation),
         [promise](Result<std::string> result) { promise->set_value(std::move(result)); });
  if (answer.wait_for(timeout) != std::future_status::ready) {
    return Status(Code::kDeadline, "metadata operation: no answer within " +
                                       std::to_string(timeout.count()) + " ms");
  }
  return answer.get();
}

std::shared_ptr<const ReadView> Executor::Committed() const { return *impl_->committed.Lock(); }

ExecutorStats Executor::Stats() const {
  uint64_t queued = 0;
  {
    auto locked = impl_->queue.Lock();
    queued = locked->waiting.size() + locked->batches.size();
  }
  return {.operations = impl_->operations,
          .groups = impl_->groups,
          .lent_turns = impl_->lent_turns,
          .retries = impl_->retries,
          .refused = impl_->refused,
          .commit_failures = impl_->commit_failures,
          .recoveries = impl_->recoveries,
          .space_short = impl_->shows_space_short,
          .queued = queued};
}

}  // namespace sheaf::meta
