#include "client/chunk/chunk_client.h"

#include <algorithm>
#include <random>
#include <utility>

#include "client/chunk/operation.h"
#include "common/log.h"

namespace sheaf::client {

namespace {

double Jitter() {
  thread_local std::minstd_rand random(std::random_device{}());
  return std::uniform_real_distribution<>(0.5, 1.0)(random);
}

// What another replica may be able to answer.
bool AnotherMay(const Status& status) {
  switch (status.code()) {
    case Code::kBusy:
    case Code::kCorrupt:
    case Code::kDeadline:  // of one call
    case Code::kIo:
    case Code::kNotServing:
    case Code::kUnavailable:
    case Code::kWrongChain:
      return true;
    default:
      return false;
  }
}

// What the cluster map may have to do with.
bool IsOfTheMap(const Status& status) {
  return status.code() == Code::kDeadline || status.code() == Code::kUnavailable ||
         status.retry() == Retry::kRefresh;
}

}  // namespace

ChunkClient::ChunkClient(const Options& options, Routes& routes, WriterIdentity& identity)
    : options_(options), routes_(routes), identity_(identity), delayed_(kRetryThreads) {
  if (options.metrics != nullptr) {
    metrics_ = std::make_unique<ChunkMetrics>(*options.metrics);
    AddCallbacks(*options.metrics);
  }
  if (options.tick.count() > 0) watcher_ = std::thread([this] { Watch(); });
}

void ChunkClient::AddCallbacks(Metrics& metrics) {
  metrics.AddCallback("sheaf_client_chunk_operations_under_way",
                      "Chunk operations begun, not ended", {},
                      [this] { return static_cast<double>(admission_.Lock()->under_way.size()); });
  metrics.AddCallback("sheaf_client_chunk_bytes_under_way", "Bytes of those operations", {},
                      [this] { return static_cast<double>(admission_.Lock()->bytes); });
  metrics.AddCallback("sheaf_client_chunk_queue_length",
                      "Chunk operations that wait until fewer are under way", {},
                      [this] { return static_cast<double>(admission_.Lock()->waiting.size()); });
  metrics.AddCallback("sheaf_client_retry_queue_length",
                      "Chunk operations that wait for their next try, or a thread that may block",
                      {}, [this] { return static_cast<double>(delayed_.size()); });
}

ChunkClient::~ChunkClient() {
  {
    auto admission = admission_.Lock();
    // Each operation ends by its deadline.
    admission.Wait(idle_, [&] { return admission->under_way.empty(); });
    admission->stopping = true;
  }
  begun_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

void ChunkClient::Read(const Place& place, std::span<uint8_t> into, Done done) {
  auto operation = std::make_shared<Operation>();
  operation->access = Access::kRead;
  operation->place = place;
  operation->into = into;
  operation->done = std::move(done);
  Submit(operation, Blocking::kYes);
}

void ChunkClient::Write(const Place& place, std::span<const uint8_t> from,
                        const WriteOptions& options, Done done) {
  auto operation = std::make_shared<Operation>();
  operation->access = Access::kWrite;
  operation->place = place;
  operation->from = from;
  operation->done = std::move(done);
  operation->under = options.under;
  operation->lease = streams_.Acquire();
  Submit(operation, options.may_block ? Blocking::kYes : Blocking::kNo);
}

void ChunkClient::Submit(const OperationRef& operation, Blocking blocking) {
  DCHECK(operation->place.offset + operation->size() <= operation->place.layout.chunk_size());
  operation->began = Clock::System().Now();
  operation->deadline = operation->began + options_.timeout;
  bool refused = false;
  bool wake = false;
  {
    auto admission = admission_.Lock();
    wake = std::exchange(admission->watcher_rests, false);
    if (!admission->waiting.empty() || !Admit(*admission, operation)) {
      refused = admission->waiting.size() >= kMaxWaiting;
      if (!refused) {
        admission->waiting.push_back(operation);
        return;
      }
    }
  }
  if (refused) {
    if (operation->access == Access::kWrite) streams_.Release(operation->lease);
    operation->done(Status(Code::kBusy, operation->Name() + ": too many operations wait"));
    return;
  }
  if (wake) begun_.notify_one();
  Attempt(operation, blocking);
}

bool ChunkClient::Admit(Admission& admission, const OperationRef& operation) {
  const bool fits = admission.under_way.size() < kMaxOperations &&
                    (admission.bytes + operation->size() <= kMaxBytesInFlight ||
                     admission.under_way.empty());  // one too large alone still goes
  if (fits) {
    operation->list_index = admission.under_way.size();
    admission.under_way.push_back(operation);
    admission.bytes += operation->size();
  }
  return fits;
}

void ChunkClient::Leave(Admission& admission, const Operation& operation) {
  admission.bytes -= operation.size();
  OperationRef last = std::move(admission.under_way.back());
  admission.under_way.pop_back();
  if (last.get() == &operation) return;
  last->list_index = operation.list_index;
  admission.under_way[operation.list_index] = std::move(last);
}

void ChunkClient::Watch() {
  for (;;) {
    {
      auto admission = admission_.Lock();
      admission->watcher_rests = admission->under_way.empty();
      // Told of the first operation after a rest, not of each.
      admission.Wait(begun_, [&] { return admission->stopping || !admission->watcher_rests; });
      const auto next = std::chrono::steady_clock::now() + options_.tick;
      if (admission.WaitUntil(begun_, next, [&] { return admission->stopping; })) return;
    }
    Tick(Clock::System().Now());
  }
}

void ChunkClient::Tick(Clock::Instant now) {
  const std::vector<OperationRef> operations = admission_.Lock()->under_way;
  const MapVersion map = routes_.version();
  bool wants_map = false;
  for (const OperationRef& operation : operations) wants_map |= Look(operation, now, map);
  if (!wants_map || now - last_poll_ < kMapPoll) return;
  last_poll_ = now;
  routes_.Refresh();
}

// `others`: a read may go to another replica.
void ChunkClient::OnErrors(const OperationRef& operation, std::vector<Status> errors, bool others) {
  const bool read = operation->access == Access::kRead;
  for (const Status& error : errors) {
    ++operation->failures;
    const bool may_pass = MayRetry(*operation, error);
    operation->hopeful |= may_pass;
    if (!may_pass && !(read && AnotherMay(error))) {
      return Finish(operation, error.With(operation->Name()));
    }
  }
  operation->last_error = std::move(errors.back());
  if (!others && !operation->hopeful) {
    return Finish(operation, operation->last_error.With(operation->Name()));
  }
  if (metrics_ != nullptr) metrics_->CountRetry(!read);
  if (!others) return RetryLater(operation);
  if (metrics_ != nullptr) metrics_->CountFailover();
  Attempt(operation, Blocking::kNo);
}

bool ChunkClient::MayRetry(Operation& operation, const Status& status) {
  switch (status.code()) {
    case Code::kCorrupt:
      if (metrics_ != nullptr) metrics_->CountCorrupt();
      if (!std::exchange(operation.was_corrupt, true)) ++operation.corrupt;
      return operation.corrupt < kCorruptTries;
    case Code::kDeadline:  // of one attempt
      routes_.Refresh();
      return true;
    case Code::kFenced:
      if (operation.access == Access::kRead) return false;
      identity_.ReportLost(operation.incarnation);
      return operation.under == Incarnation();
    case Code::kUnavailable:  // the server may be back under another address
      routes_.Refresh();
      return true;
    default:
      break;
  }
  if (status.retry() == Retry::kRefresh) routes_.Refresh();
  return status.retry() != Retry::kNever;
}

void ChunkClient::RetryLater(const OperationRef& operation) {
  const Clock::Instant when = NextTry(*operation);
  if (when >= operation->deadline) return Finish(operation, GaveUp(*operation));
  operation->BeginRound();
  uint64_t number = 0;
  {
    auto resting = operation->resting.Lock();
    resting->wait = {.on = true,
                     .for_map = IsOfTheMap(operation->last_error),
                     .number = number = resting->wait.number + 1,
                     .map = operation->map};
  }
  delayed_.Post(when, [this, operation, number] {
    {
      auto resting = operation->resting.Lock();
      // A newer map may have ended this wait, and another may have begun.
      if (!resting->wait.on || resting->wait.number != number) return;
      resting->wait.on = false;
    }
    Attempt(operation, Blocking::kYes);
  });
}

Clock::Instant ChunkClient::NextTry(Operation& operation) {
  const int doublings = std::min(operation.rounds++, 16);
  const auto longest = operation.last_error.retry() == Retry::kRefresh
                           ? std::min(options_.backoff_max, kRefusedBackoffMax)
                           : options_.backoff_max;
  const auto wait =
      std::min<std::chrono::nanoseconds>(options_.backoff_min * (1 << doublings), longest);
  const auto jittered =
      std::chrono::nanoseconds(static_cast<int64_t>(static_cast<double>(wait.count()) * Jitter()));
  // Not past the deadline by a back-off alone: the last try is made shortly before it.
  const auto now = Clock::System().Now();
  return operation.deadline - now > 2 * options_.backoff_min
             ? std::min(now + jittered, operation.deadline - options_.backoff_min)
             : operation.deadline;
}

Status ChunkClient::GaveUp(const Operation& operation) {
  const Status status(Code::kDeadline,
                      operation.Name() + ": no success within " +
                          std::to_string(options_.timeout.count()) + " ms after " +
                          std::to_string(operation.failures) +
                          " failed attempts; the last: " + operation.last_error.ToString());
  // A server that is gone fails many operations at once: one line a second says it.
  const int64_t now_s = Clock::System().Now().count() / 1'000'000'000;
  if (last_logged_s_.exchange(now_s) != now_s) LogError("client: {}", status.message());
  return status;
}

void ChunkClient::Finish(const OperationRef& operation, Result<size_t> result) {
  if (operation->access == Access::kWrite) streams_.Release(operation->lease);
  if (metrics_ != nullptr) {
    const std::chrono::duration<double> took = Clock::System().Now() - operation->began;
    metrics_->CountEnd(operation->access == Access::kWrite, result.ok(), result.ok() ? *result : 0,
                       took.count());
  }
  // `done` first, then the count: the destructor waits for the count and callers' memory is theirs
  // again after `done`. What it holds goes with it, though a back-off that was cut short may still
  // keep the operation.
  {
    const Done done = std::exchange(operation->done, nullptr);
    done(std::move(result));
  }
  auto admission = admission_.Lock();
  Leave(*admission, *operation);
  while (!admission->waiting.empty() && Admit(*admission, admission->waiting.front())) {
    // From the queue's threads, so that a row of them that ends at once does not recurse.
    delayed_.Post(Clock::System().Now(), [this, next = admission->waiting.front()] {
      Attempt(next, Blocking::kYes);
    });
    admission->waiting.pop_front();
  }
  if (admission->under_way.empty()) idle_.notify_all();
}

}  // namespace sheaf::client
