#include "client/chunk/chunk_client.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "common/crc32c.h"
#include "common/log.h"
#include "proto/data.pb.h"

namespace sheaf::client {

using transport::Call;
using transport::Method;
using transport::Reply;

// One chunk operation, owned by whoever drives it next: the connection, the delay queue, or the
// thread inside Attempt. It moves in steps no larger than a server takes in one frame.
struct ChunkClient::Operation {
  Access access = Access::kRead;
  Place place;
  std::span<uint8_t> into;
  std::span<const uint8_t> from;
  Done done;
  Clock::Instant began{};
  Clock::Instant deadline{};
  size_t progress = 0;  // bytes of earlier steps
  size_t step = 0;      // bytes asked for in the step under way
  int attempts = 0;     // that failed
  int corrupt = 0;
  uint32_t crc = 0;          // of the step, for writes
  size_t crc_of = SIZE_MAX;  // progress for which crc was computed
  Incarnation under;  // the only session it may be sent under; null: any
  Incarnation incarnation;
  StreamPool::Lease lease;
  Status last_error;

  size_t size() const { return access == Access::kRead ? into.size() : from.size(); }
  uint32_t step_offset() const { return place.offset + static_cast<uint32_t>(progress); }
  std::string Name() const {
    return (access == Access::kRead ? "read chunk " : "write chunk ") + ToString(place.chunk) +
           " (offset " + std::to_string(place.offset) + ", length " + std::to_string(size()) + ")";
  }
};

namespace {

// Part of the whole wait that one attempt may take, so that a server that hangs silently is tried
// again over a new connection.
constexpr int kAttemptsInDeadline = 3;

double Jitter() {
  thread_local std::minstd_rand random(std::random_device{}());
  return std::uniform_real_distribution<>(0.5, 1.0)(random);
}

template <typename Request>
void FillContext(const Route& route, ChunkId chunk, Request& request) {
  request.mutable_ctx()->set_chain_id(route.chain.value());
  request.mutable_ctx()->set_chain_version(route.version.value());
  request.mutable_chunk()->set_data_id(chunk.data_id.value());
  request.mutable_chunk()->set_index(chunk.index);
}

}  // namespace

ChunkClient::ChunkClient(const Options& options, Routes& routes, WriterIdentity& identity)
    : options_(options), routes_(routes), identity_(identity), delayed_(kRetryThreads) {
  if (options.metrics == nullptr) return;
  metrics_ = std::make_unique<ChunkMetrics>(*options.metrics);
  AddCallbacks(*options.metrics);
}

void ChunkClient::AddCallbacks(Metrics& metrics) {
  metrics.AddCallback("sheaf_client_chunk_operations_under_way",
                      "Chunk operations begun, not ended", {},
                      [this] { return static_cast<double>(admission_.Lock()->operations); });
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
  auto admission = admission_.Lock();
  // Each operation ends by its deadline.
  admission.Wait(idle_, [&] { return admission->operations == 0; });
}

void ChunkClient::Read(const Place& place, std::span<uint8_t> into, Done done) {
  auto* operation = new Operation;
  operation->access = Access::kRead;
  operation->place = place;
  operation->into = into;
  operation->done = std::move(done);
  Submit(operation, Blocking::kYes);
}

void ChunkClient::Write(const Place& place, std::span<const uint8_t> from,
                        const WriteOptions& options, Done done) {
  auto* operation = new Operation;
  operation->access = Access::kWrite;
  operation->place = place;
  operation->from = from;
  operation->done = std::move(done);
  operation->under = options.under;
  operation->lease = streams_.Acquire();
  Submit(operation, options.may_block ? Blocking::kYes : Blocking::kNo);
}

void ChunkClient::Submit(Operation* operation, Blocking blocking) {
  DCHECK(operation->place.offset + operation->size() <= operation->place.layout.chunk_size());
  operation->began = Clock::System().Now();
  operation->deadline = operation->began + options_.timeout;
  bool refused = false;
  {
    auto admission = admission_.Lock();
    if (!admission->waiting.empty() || !Admit(*admission, *operation)) {
      refused = admission->waiting.size() >= kMaxWaiting;
      if (!refused) {
        admission->waiting.push_back(operation);
        return;
      }
    }
  }
  if (refused) {
    std::unique_ptr<Operation> owned(operation);
    if (owned->access == Access::kWrite) streams_.Release(owned->lease);
    owned->done(Status(Code::kBusy, owned->Name() + ": too many operations wait"));
    return;
  }
  Attempt(operation, blocking);
}

bool ChunkClient::Admit(Admission& admission, const Operation& operation) {
  const bool fits = admission.operations < kMaxOperations &&
                    (admission.bytes + operation.size() <= kMaxBytesInFlight ||
                     admission.operations == 0);  // one too large alone still goes
  if (fits) {
    ++admission.operations;
    admission.bytes += operation.size();
  }
  return fits;
}

void ChunkClient::Attempt(Operation* operation, Blocking blocking) {
  if (Clock::System().Now() >= operation->deadline) {
    Finish(operation, GaveUp(*operation));
    return;
  }
  const Place& place = operation->place;
  auto route = routes_.Find(place.layout, place.chunk.index, operation->access, blocking);
  if (!route.ok()) {
    OnError(operation, route.status());
    return;
  }
  if (route->connection == nullptr) {
    delayed_.Post(Clock::System().Now(), [this, operation] { Attempt(operation, Blocking::kYes); });
    return;
  }
  operation->step = std::min<size_t>(operation->size() - operation->progress,
                                     route->connection->max_payload());
  if (operation->access == Access::kRead) {
    SendRead(operation, *route);
  } else {
    SendWrite(operation, *route);
  }
}

void ChunkClient::SendRead(Operation* operation, const Route& route) {
  proto::ReadChunkRequest request;
  FillContext(route, operation->place.chunk, request);
  request.set_offset(operation->step_offset());
  request.set_length(static_cast<uint32_t>(operation->step));
  Call call{.method = Method::kRead, .into = operation->into.subspan(operation->progress,
                                                                      operation->step)};
  request.SerializeToString(&call.message);
  call.deadline = std::min(operation->deadline,
                           Clock::System().Now() + options_.timeout / kAttemptsInDeadline);
  route.connection->Start(std::move(call), [this, operation](Result<Reply> reply) {
    OnReply(operation, std::move(reply));
  });
}

void ChunkClient::SendWrite(Operation* operation, const Route& route) {
  const auto bytes = operation->from.subspan(operation->progress, operation->step);
  if (operation->crc_of != operation->progress) {
    operation->crc = Crc32c(bytes);
    operation->crc_of = operation->progress;
  }
  operation->incarnation = identity_.incarnation();
  if (operation->under != Incarnation() && operation->under != operation->incarnation) {
    operation->incarnation = operation->under;
    OnError(operation, Status(Code::kFenced, "session " + ToString(operation->under) + " is over"));
    return;
  }
  proto::WriteChunkRequest request;
  FillContext(route, operation->place.chunk, request);
  request.mutable_ctx()->set_incarnation(operation->incarnation.value());
  request.mutable_ctx()->set_stream(operation->lease.stream);
  request.mutable_ctx()->set_sequence(operation->lease.sequence);
  request.set_offset(operation->step_offset());
  request.set_chunk_size(static_cast<uint32_t>(operation->place.layout.chunk_size()));
  request.set_crc32c(operation->crc);
  Call call{.method = Method::kWrite, .payload = bytes};
  request.SerializeToString(&call.message);
  call.deadline = std::min(operation->deadline,
                           Clock::System().Now() + options_.timeout / kAttemptsInDeadline);
  route.connection->Start(std::move(call), [this, operation](Result<Reply> reply) {
    OnReply(operation, std::move(reply));
  });
}

void ChunkClient::OnReply(Operation* operation, Result<Reply> reply) {
  if (!reply.ok()) {
    OnError(operation, reply.status());
    return;
  }
  auto moved = operation->access == Access::kRead ? CheckRead(*operation, *reply)
                                                  : Result<size_t>(operation->step);
  if (!moved.ok()) {
    OnError(operation, moved.status());
    return;
  }
  OnStep(operation, *moved);
}

Result<size_t> ChunkClient::CheckRead(Operation& operation, const Reply& reply) {
  proto::ReadChunkResponse response;
  if (!response.ParseFromString(reply.message)) {
    return Status(Code::kProtocol, operation.Name() + ": the answer cannot be parsed");
  }
  if (reply.payload_size > operation.step) {
    return Status(Code::kProtocol, operation.Name() + ": the answer is longer than asked (" +
                                       std::to_string(reply.payload_size) + ")");
  }
  const auto bytes = operation.into.subspan(operation.progress, reply.payload_size);
  const uint32_t crc = Crc32c(bytes);
  if (crc != response.crc32c()) {
    return Status(Code::kCorrupt, operation.Name() + ": checksum mismatch (want " +
                                      std::to_string(response.crc32c()) + ", got " +
                                      std::to_string(crc) + ")");
  }
  return reply.payload_size;
}

void ChunkClient::OnStep(Operation* operation, size_t moved) {
  const bool chunk_end = moved < operation->step;  // of a read
  operation->progress += moved;
  if (chunk_end) {
    const auto rest = operation->into.subspan(operation->progress);
    std::memset(rest.data(), 0, rest.size());
  }
  if (chunk_end || operation->progress == operation->size()) {
    const size_t total = operation->progress;
    Finish(operation, total);
    return;
  }
  if (operation->access == Access::kWrite) streams_.Advance(operation->lease);
  Attempt(operation, Blocking::kNo);
}

void ChunkClient::OnError(Operation* operation, Status status) {
  if (!MayRetry(*operation, status)) {
    Finish(operation, status.With(operation->Name()));
    return;
  }
  operation->last_error = std::move(status);
  if (metrics_ != nullptr) metrics_->CountRetry(operation->access == Access::kWrite);
  const Clock::Instant when = NextTry(*operation);
  if (when >= operation->deadline) {
    Finish(operation, GaveUp(*operation));
    return;
  }
  delayed_.Post(when, [this, operation] { Attempt(operation, Blocking::kYes); });
}

bool ChunkClient::MayRetry(Operation& operation, const Status& status) {
  switch (status.code()) {
    case Code::kCorrupt:
      if (metrics_ != nullptr) metrics_->CountCorrupt();
      return ++operation.corrupt < kCorruptTries;
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

Clock::Instant ChunkClient::NextTry(Operation& operation) {
  const int doublings = std::min(operation.attempts++, 16);
  const auto wait = std::min<std::chrono::nanoseconds>(options_.backoff_min * (1 << doublings),
                                                       options_.backoff_max);
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
                          std::to_string(operation.attempts) + " failed attempts; the last: " +
                          operation.last_error.ToString());
  // A server that is gone fails many operations at once: one line a second says it.
  const int64_t now_s = Clock::System().Now().count() / 1'000'000'000;
  if (last_logged_s_.exchange(now_s) != now_s) LogError("client: {}", status.message());
  return status;
}

void ChunkClient::Finish(Operation* operation, Result<size_t> result) {
  const std::unique_ptr<Operation> owned(operation);
  if (owned->access == Access::kWrite) streams_.Release(owned->lease);
  if (metrics_ != nullptr) {
    const std::chrono::duration<double> took = Clock::System().Now() - owned->began;
    metrics_->CountEnd(owned->access == Access::kWrite, result.ok(), result.ok() ? *result : 0,
                       took.count());
  }
  // `done` first, then the count: the destructor waits for the count and callers' memory is theirs
  // again after `done`.
  owned->done(std::move(result));
  auto admission = admission_.Lock();
  --admission->operations;
  admission->bytes -= owned->size();
  while (!admission->waiting.empty() && Admit(*admission, *admission->waiting.front())) {
    // From the queue's threads, so that a row of them that ends at once does not recurse.
    delayed_.Post(Clock::System().Now(), [this, next = admission->waiting.front()] {
      Attempt(next, Blocking::kYes);
    });
    admission->waiting.pop_front();
  }
  if (admission->operations == 0) idle_.notify_all();
}

}  // namespace sheaf::client
