#include "storage/replica/repairer.h"

#include <pthread.h>

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "common/crc32c.h"
#include "common/log.h"
#include "proto/data.pb.h"
#include "storage/engine/chunk_record.h"

namespace sheaf::storage {
namespace {

std::string NameOf(const Engine::ChunkKey& key) {
  return ToString(key.chain) + "/" + ToString(key.chunk);
}

// What may go by itself.
bool IsPassing(const Status& status) {
  return status.retry() != Retry::kNever || status.code() == Code::kStale ||
         status.code() == Code::kDeadline;
}

// Waits for the answer of a call that is begun with a function to give it to.
template <typename T, typename Call>
T Await(Call call) {
  auto promise = std::make_shared<std::promise<T>>();
  auto answer = promise->get_future();
  call([promise](T value) { promise->set_value(std::move(value)); });
  return answer.get();
}

}  // namespace

bool IsDamage(const Status& status) {
  return status.code() == Code::kCorrupt || status.code() == Code::kIo;
}

Repairer::Repairer(Peers& peers, Options options)
    : peers_(peers),
      options_(std::move(options)),
      pacer_(options_.bytes_per_s),
      thread_([this] { Main(); }) {}

Repairer::~Repairer() { Stop(); }

void Repairer::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  pacer_.Stop();
  if (thread_.joinable()) thread_.join();
}

void Repairer::Add(Place place) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || known_.size() == kMaxQueued) return;
    const Clock::Instant now = Clock::System().Now();
    std::erase_if(given_up_, [now](const auto& entry) { return entry.second <= now; });
    if (given_up_.contains({place.engine, place.key})) return;
    if (!known_.insert({place.engine, place.key}).second) return;
    jobs_.push_back({.place = std::move(place)});
  }
  changed_.notify_all();
}

Repairer::Counts Repairer::counts() const {
  std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.queued = known_.size();
  return counts;
}

// ---- the queue ----

void Repairer::Main() {
  ::pthread_setname_np(::pthread_self(), "repair");
  Job job;
  while (Next(job)) {
    const Status status = Repair(job);
    End(std::move(job), status);
  }
}

// Waits for one whose time has come. False: the server stops.
bool Repairer::Next(Job& job) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopping_) return false;
    const Clock::Instant now = Clock::System().Now();
    const auto first = std::min_element(jobs_.begin(), jobs_.end(), [](const Job& a, const Job& b) {
      return a.not_before < b.not_before;
    });
    if (first == jobs_.end()) {
      changed_.wait(lock);
    } else if (first->not_before > now) {
      changed_.wait_for(lock, first->not_before - now);
    } else {
      job = std::move(*first);
      jobs_.erase(first);
      return true;
    }
  }
}

void Repairer::End(Job job, const Status& status) {
  const Place& place = job.place;
  if (!status.ok() && IsPassing(status) && ++job.tries < options_.tries) {
    job.not_before = Clock::System().Now() + options_.pause;
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    return;
  }
  const bool repaired = status.ok() && job.pages > 0;
  if (repaired) {
    LogWarn("repaired chunk {} from target {} ({} pages): {}", NameOf(place.key),
            ToString(job.from), job.pages, job.damage.message());
    if (options_.on_repaired) options_.on_repaired(*place.engine, place.key);
  }
  std::lock_guard lock(mutex_);
  known_.erase({place.engine, place.key});
  if (repaired) ++counts_.repaired;
  if (status.ok() || stopping_) return;
  ++counts_.failed;
  if (given_up_.size() < kMaxQueued)
    given_up_[{place.engine, place.key}] = Clock::System().Now() + options_.rest;
  LogError("chunk {} is not repaired: {}; it is damaged: {}", NameOf(place.key), status.ToString(),
           job.damage.message());
}

// ---- one chunk ----

Status Repairer::Repair(Job& job) {
  const Place& place = job.place;
  const auto look = ReadHere(place, 0, 0);
  if (!look.ok()) {
    job.damage = look.status();
    return look.status();
  }
  const Engine::ChunkState state = look->state;
  for (uint32_t offset = 0; offset < state.length; offset += kPageBytes) {
    const uint32_t length = std::min(kPageBytes, state.length - offset);
    RETURN_IF_ERROR(pacer_.Take(length));
    const Status read = ReadHere(place, offset, length).status();
    if (read.ok()) continue;
    if (!IsDamage(read)) return read;
    if (job.damage.ok()) job.damage = read;
    RETURN_IF_ERROR(RepairPage(job, state, offset));
  }
  return Status::Ok();
}

Status Repairer::RepairPage(Job& job, const Engine::ChunkState& state, uint32_t offset) {
  const Place& place = job.place;
  const Sources sources = place.sources();
  Status failed(Code::kNotServing, "no other replica serves the chain");
  bool asked = false;
  for (TargetId from : sources.targets) {
    RETURN_IF_ERROR(pacer_.Take(kPageBytes));
    const auto piece = ReadThere(place, sources.version, from, state, offset);
    Status status = piece.status();
    if (status.ok()) {
      status = Rewrite(place, state, offset, *piece);
      // It has changed here, or is changing: no other has anything for it either.
      if (IsPassing(status)) return status;
    }
    if (status.ok()) {
      ++job.pages;
      job.from = from;
      status = ReadHere(place, offset, kPageBytes).status();
      if (!IsDamage(status)) return status;
    }
    // One that may have it later counts for more than one that never will.
    if (!std::exchange(asked, true) || !IsPassing(failed)) {
      failed = status.With("target " + ToString(from));
    }
  }
  return failed;
}

Result<Engine::ReadAnswer> Repairer::ReadHere(const Place& place, uint32_t offset,
                                              uint32_t length) {
  return Await<Result<Engine::ReadAnswer>>([&](auto done) {
    place.io->Post([place, offset, length, done] {
      place.engine->ReadAt(*place.io, place.key, Engine::kNewest, offset, length, done);
    });
  });
}

// As a client without a session. What the chain has committed there must be the version here.
Result<Repairer::Piece> Repairer::ReadThere(const Place& place, ChainVersion version, TargetId from,
                                            const Engine::ChunkState& state, uint32_t offset) {
  Piece piece;
  piece.buffer = Await<BufferRef>([&](auto done) {
    place.io->Post([io = place.io, done] { done(io->Allocate(kPageBytes)); });
  });
  if (piece.buffer == nullptr) return Status(Code::kBusy, "no buffer is free");
  proto::ReadChunkRequest request;
  request.mutable_ctx()->set_chain_id(place.key.chain.value());
  request.mutable_ctx()->set_chain_version(version.value());
  request.mutable_chunk()->set_data_id(place.key.chunk.data_id.value());
  request.mutable_chunk()->set_index(place.key.chunk.index);
  request.set_offset(offset);
  request.set_length(std::min(kPageBytes, state.length - offset));
  const auto into = piece.buffer->span().first(request.length());
  transport::Call call{.method = transport::Method::kRead,
                       .message = request.SerializeAsString(),
                       .into = into,
                       .deadline = Clock::System().Now() + options_.call_timeout};
  ASSIGN_OR_RETURN(const transport::Reply reply, Await<Result<transport::Reply>>([&](auto done) {
                     peers_.Call(from, std::move(call), done);
                   }));
  proto::ReadChunkResponse response;
  if (!response.ParseFromString(reply.message))
    return Status(Code::kProtocol, "an answer that cannot be read");
  if (response.version() != state.version.value() || reply.payload_size != into.size()) {
    return Status(Code::kStale, "it has version " + std::to_string(response.version()) +
                                    " there, " + ToString(state.version) + " here");
  }
  piece.bytes = into;
  if (Crc32c(piece.bytes) != response.crc32c())
    return Status(Code::kUnavailable, "the bytes were changed on the way");
  return piece;
}

Status Repairer::Rewrite(const Place& place, const Engine::ChunkState& state, uint32_t offset,
                         const Piece& piece) {
  Engine::WriteArgs args{
      .key = place.key, .offset = offset, .buffer = piece.buffer, .bytes = piece.bytes};
  return Await<Result<Engine::ChunkState>>([&](auto done) {
           place.engine->Rewrite(*place.io, std::move(args), state.version, done);
         })
      .status();
}

}  // namespace sheaf::storage
