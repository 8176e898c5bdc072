#include <algorithm>
#include <cstring>
#include <utility>

#include "client/chunk/chunk_client.h"
#include "client/chunk/operation.h"
#include "common/crc32c.h"
#include "proto/data.pb.h"

// The steps of an operation: its calls, from the route to their end.

namespace sheaf::client {

using transport::Call;
using transport::Method;
using transport::Reply;

namespace {

// Part of the whole wait that one call may take, so that a server that hangs silently is tried
// again over a new connection.
constexpr int kCallsInDeadline = 3;

template <typename Request>
void FillContext(const Route& route, ChunkId chunk, Request& request) {
  request.mutable_ctx()->set_chain_id(route.chain.value());
  request.mutable_ctx()->set_chain_version(route.version.value());
  request.mutable_chunk()->set_data_id(chunk.data_id.value());
  request.mutable_chunk()->set_index(chunk.index);
}

std::string ReadMessage(const Route& route, ChunkId chunk, uint32_t offset, size_t length) {
  proto::ReadChunkRequest request;
  FillContext(route, chunk, request);
  request.set_offset(offset);
  request.set_length(static_cast<uint32_t>(length));
  return request.SerializeAsString();
}

// How many of the bytes asked for the answer brought.
Result<size_t> CheckRead(const Reply& reply, std::span<const uint8_t> into) {
  proto::ReadChunkResponse response;
  if (!response.ParseFromString(reply.message)) {
    return Status(Code::kProtocol, "the answer cannot be parsed");
  }
  if (reply.payload_size > into.size()) {
    return Status(Code::kProtocol,
                  "the answer is longer than asked (" + std::to_string(reply.payload_size) + ")");
  }
  const uint32_t crc = Crc32c(into.first(reply.payload_size));
  if (crc != response.crc32c()) {
    return Status(Code::kCorrupt, "checksum mismatch (want " + std::to_string(response.crc32c()) +
                                      ", got " + std::to_string(crc) + ")");
  }
  return reply.payload_size;
}

// What makes a server one to be avoided; a full queue passes by itself.
bool SpeaksAgainst(const Status& status) {
  return status.code() == Code::kDeadline || status.code() == Code::kUnavailable ||
         status.code() == Code::kNotServing;
}

}  // namespace

void ChunkClient::Attempt(const OperationRef& operation, Blocking blocking) {
  if (Clock::System().Now() >= operation->deadline) {
    Finish(operation, GaveUp(*operation));
    return;
  }
  operation->map = routes_.version();
  auto route = routes_.Find(operation->wanted(operation->passed_over), blocking);
  if (!route.ok()) {
    OnErrors(operation, {route.status()}, false);
    return;
  }
  if (route->connection == nullptr) {
    delayed_.Post(Clock::System().Now(), [this, operation] { Attempt(operation, Blocking::kYes); });
    return;
  }
  operation->step =
      std::min<size_t>(operation->size() - operation->progress, route->connection->max_payload());
  if (operation->access == Access::kRead) {
    SendRead(operation, *route);
  } else {
    SendWrite(operation, *route);
  }
}

Clock::Instant ChunkClient::CallDeadline(const Operation& operation, const Route& route) const {
  Clock::Instant wait = options_.timeout / kCallsInDeadline;
  if (route.others) wait = std::min(wait, hedging_.Patience(operation.step));
  return std::min(operation.deadline, Clock::System().Now() + wait);
}

void ChunkClient::SendRead(const OperationRef& operation, const Route& route) {
  hedging_.CountRead();
  Call call{.method = Method::kRead,
            .message = ReadMessage(route, operation->place.chunk, operation->step_offset(),
                                   operation->step),
            .into = operation->into.subspan(operation->progress, operation->step)};
  Start(operation, route, std::move(call));
}

void ChunkClient::SendWrite(const OperationRef& operation, const Route& route) {
  const auto bytes = operation->from.subspan(operation->progress, operation->step);
  if (operation->crc_of != operation->progress) {
    operation->crc = Crc32c(bytes);
    operation->crc_of = operation->progress;
  }
  operation->incarnation = identity_.incarnation();
  if (operation->under != Incarnation() && operation->under != operation->incarnation) {
    operation->incarnation = operation->under;
    OnErrors(operation,
             {Status(Code::kFenced, "session " + ToString(operation->under) + " is over")}, false);
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
  Start(operation, route,
        {.method = Method::kWrite, .message = request.SerializeAsString(), .payload = bytes});
}

void ChunkClient::Start(const OperationRef& operation, const Route& route, Call call) {
  call.tag = ++last_tag_;
  call.deadline = CallDeadline(*operation, route);
  operation->resting.Lock()->step.first = {.under_way = true,
                                           .tag = call.tag,
                                           .route = route,
                                           .map = operation->map,
                                           .when = Clock::System().Now()};
  route.connection->Start(std::move(call), [this, operation](Result<Reply> reply) {
    OnReply(operation, Which::kFirst, std::move(reply));
  });
}

// On the watching thread, the hedge being marked as under way: so the operation rests meanwhile,
// and ends like any call's when it is not sent.
void ChunkClient::Hedge(const OperationRef& operation) {
  std::vector<TargetId> passed_over = operation->passed_over;
  passed_over.push_back(operation->resting.Lock()->step.first.route.target);
  const MapVersion map = routes_.version();
  const auto route = routes_.Find(operation->wanted(passed_over), Blocking::kNo);
  const bool can = route.ok() && route->connection != nullptr &&
                   route->connection->max_payload() >= operation->step;
  if (!can || !hedging_.Begin(operation->step)) {
    operation->resting.Lock()->step.hedge.given_up = true;
    OnReply(operation, Which::kHedge, Status(Code::kCancelled, "not hedged"));
    return;
  }
  auto bytes = std::make_unique_for_overwrite<uint8_t[]>(operation->step);
  Call call{.method = Method::kRead,
            .message = ReadMessage(*route, operation->place.chunk, operation->step_offset(),
                                   operation->step),
            .into = {bytes.get(), operation->step},
            .deadline = CallDeadline(*operation, *route),
            .tag = ++last_tag_};
  bool late = false;
  {
    auto resting = operation->resting.Lock();
    resting->step.hedge_bytes = std::move(bytes);
    Operation::Sent& hedge = resting->step.hedge;
    late = hedge.given_up;  // the first call has won by now
    hedge = {.under_way = true,
             .given_up = late,
             .tag = call.tag,
             .route = *route,
             .map = map,
             .when = Clock::System().Now()};
  }
  if (late) return OnReply(operation, Which::kHedge, Status(Code::kCancelled, "too late to hedge"));
  if (metrics_ != nullptr) metrics_->CountHedge();
  route->connection->Start(std::move(call), [this, operation](Result<Reply> reply) {
    OnReply(operation, Which::kHedge, std::move(reply));
  });
}

void ChunkClient::OnReply(const OperationRef& operation, Which which, Result<Reply> reply) {
  const bool is_hedge = which == Which::kHedge;
  Result<size_t> moved = operation->step;
  if (!reply.ok()) {
    moved = reply.status();
  } else if (operation->access == Access::kRead) {
    const uint8_t* own = is_hedge ? operation->resting.Lock()->step.hedge_bytes.get()
                                  : operation->into.data() + operation->progress;
    moved = CheckRead(*reply, {own, operation->step});
  }
  Operation::Sent ended;
  Operation::Sent loser;
  bool rests = false;
  {
    auto resting = operation->resting.Lock();
    Operation::Step& step = resting->step;
    Operation::Sent& sent = is_hedge ? step.hedge : step.first;
    Operation::Sent& other = is_hedge ? step.first : step.hedge;
    sent.under_way = false;
    ended = sent;
    if (moved.ok() && !step.moved) {
      step.moved = *moved;
      step.hedge_won = is_hedge;
    }
    if (!moved.ok() && !sent.given_up) step.errors.push_back(moved.status());
    rests = other.under_way;
    if (rests && step.moved) {
      other.given_up = true;
      loser = other;
    }
  }
  if (!moved.ok() && !ended.given_up && SpeaksAgainst(moved.status())) {
    routes_.Avoid(ended.route.server);
  }
  if (loser.route.connection != nullptr) loser.route.connection->Cancel(loser.tag);
  if (!rests) EndStep(operation);
}

void ChunkClient::EndStep(const OperationRef& operation) {
  const Operation::Step step = std::exchange(operation->resting.Lock()->step, Operation::Step());
  if (step.hedge_bytes != nullptr) hedging_.End(operation->step);
  if (step.moved) {
    if (step.hedge_won) {
      std::memcpy(operation->into.data() + operation->progress, step.hedge_bytes.get(),
                  *step.moved);
      if (metrics_ != nullptr) metrics_->CountHedgeWon();
    }
    // Of a call that lost to its hedge this is the least that it would have taken.
    if (operation->access == Access::kRead) {
      hedging_.Observe(operation->step, Clock::System().Now() - step.first.when);
    }
    OnStep(operation, *step.moved);
    return;
  }
  if (step.errors.empty()) {  // given up, as the chain has moved on
    if (metrics_ != nullptr) metrics_->CountReroute(operation->access == Access::kWrite);
    operation->rounds = 0;
    operation->BeginRound();
    Attempt(operation, Blocking::kNo);
    return;
  }
  operation->passed_over.push_back(step.first.route.target);
  const bool hedged = step.hedge_bytes != nullptr;
  if (hedged) operation->passed_over.push_back(step.hedge.route.target);
  OnErrors(operation, step.errors, hedged ? step.hedge.route.others : step.first.route.others);
}

void ChunkClient::OnStep(const OperationRef& operation, size_t moved) {
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
  operation->BeginRound();
  Attempt(operation, Blocking::kNo);
}

bool ChunkClient::Look(const OperationRef& operation, Clock::Instant now, MapVersion map) {
  const bool write = operation->access == Access::kWrite;
  std::vector<Operation::Sent> stale;
  bool try_now = false;
  bool hedge = false;
  bool wants_map = false;
  {
    auto resting = operation->resting.Lock();
    Operation::Wait& wait = resting->wait;
    try_now = wait.on && wait.map < map;
    if (try_now) wait.on = false;
    Operation::Step& step = resting->step;
    for (Operation::Sent* sent : {&step.first, &step.hedge}) {
      if (!sent->under_way || sent->route.connection == nullptr) continue;
      if (!sent->given_up && std::exchange(sent->map, map) < map) {
        sent->given_up = !routes_.IsCurrent(operation->wanted({}), sent->route);
      }
      // Again each time: it may not have been begun yet the last time.
      if (sent->given_up) stale.push_back(*sent);
    }
    hedge = !write && step.first.under_way && !step.first.given_up && step.first.route.others &&
            !step.hedged && now - step.first.when >= hedging_.Delay(operation->step);
    if (hedge) step.hedged = step.hedge.under_way = true;
    wants_map = (wait.on && wait.for_map) ||
                (write && step.first.under_way && now - step.first.when >= kSlowWrite);
  }
  for (const Operation::Sent& sent : stale) sent.route.connection->Cancel(sent.tag);
  if (hedge) Hedge(operation);
  if (try_now) {
    operation->rounds = 0;
    Attempt(operation, Blocking::kNo);
  }
  return wants_map;
}

}  // namespace sheaf::client
