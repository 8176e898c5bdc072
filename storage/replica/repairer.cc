#include "storage/replica/repairer.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <utility>

#include "common/crc32c.h"
#include "common/log.h"
#include "proto/data.pb.h"
#include "storage/engine/chunk_record.h"
#include "storage/engine/payload_crc.h"

namespace sheaf::storage {
namespace {

std::string NameOf(const Engine::ChunkKey& key) {
  return ToString(key.chain) + "/" + ToString(key.chunk);
}

// Trying again would not help.
bool IsForGood(const Status& status) {
  return status.retry() == Retry::kNever && status.code() != Code::kStale &&
         status.code() != Code::kNotFound && status.code() != Code::kDeadline &&
         status.code() != Code::kNoSpace;
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

bool Repairer::Add(Place place) {
  {
    std::lock_guard lock(mutex_);
    const Id id{place.engine, place.key};
    const Clock::Instant now = Clock::System().Now();
    std::erase_if(given_up_, [now](const auto& entry) { return entry.second.until <= now; });
    if (const auto rests = given_up_.find(id); rests != given_up_.end())
      return !rests->second.for_good;
    if (known_.contains(id)) return true;
    if (stopping_ || known_.size() == kMaxQueued || given_up_.size() == kMaxQueued) return true;
    known_.insert(id);
    jobs_.push_back({.place = std::move(place)});
  }
  changed_.notify_all();
  return true;
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
  const bool for_good = !status.ok() && IsForGood(status);
  if (!status.ok() && !for_good && ++job.tries < options_.tries) {
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
  {
    std::lock_guard lock(mutex_);
    const Id id{place.engine, place.key};
    known_.erase(id);
    if (repaired) ++counts_.repaired;
    if (status.ok() || stopping_) return;
    ++counts_.failed;
    if (given_up_.size() < kMaxQueued) {
      const auto rest = for_good ? options_.rest : options_.short_rest;
      given_up_[id] = {.until = Clock::System().Now() + rest, .for_good = for_good};
    }
  }
  LogError("chunk {} is not repaired: {}{}{}", NameOf(place.key), status.ToString(),
           job.damage.ok() ? "" : "; it is damaged: ", job.damage.message());
}

// ---- one chunk ----

Status Repairer::Repair(Job& job) {
  const Place& place = job.place;
  const auto look = ReadHere(place, 0, 0);
  if (!look.ok()) {
    if (IsDamage(look.status())) job.damage = look.status();
    return look.status();
  }
  Status failed;
  for (uint32_t offset = 0; offset < look->state.length; offset += kPageBytes) {
    const Range page{look->state, offset, std::min(kPageBytes, look->state.length - offset)};
    RETURN_IF_ERROR(pacer_.Take(page.length));
    const Status read = ReadHere(place, page.offset, page.length).status();
    if (read.ok()) continue;
    if (!IsDamage(read)) return read;
    if (job.damage.ok()) job.damage = read;
    const Status status = RepairPage(job, page);
    if (status.ok()) {
      ++job.pages;
    } else if (!IsForGood(status)) {
      return status;
    } else if (failed.ok()) {
      failed = status;  // other pages may be better off
    }
  }
  return failed;
}

Status Repairer::RepairPage(Job& job, const Range& page) {
  const Sources sources = job.place.sources();
  if (sources.targets.empty()) return {Code::kNotServing, "no other replica serves the chain"};
  if (TakeWhole(job, page, sources).ok()) return Status::Ok();
  return PutTogether(job, page, sources);
}

// From the first that can read all of it and has the same.
Status Repairer::TakeWhole(Job& job, const Range& page, const Sources& sources) {
  Status status;
  for (TargetId from : sources.targets) {
    RETURN_IF_ERROR(pacer_.Take(page.length));
    const auto piece = ReadThere(job.place, sources.version, from, page);
    status = piece.status();
    if (status.ok()) status = Rewrite(job.place, page.offset, piece->buffer, piece->bytes);
    if (status.ok()) status = ReadHere(job.place, page.offset, page.length).status();
    if (!status.ok()) continue;
    job.from = from;
    break;
  }
  return status;
}

// Each unit from wherever it can be read. What nobody can read does not hinder the rest.
Status Repairer::PutTogether(Job& job, const Range& page, const Sources& sources) {
  ASSIGN_OR_RETURN(const std::vector<uint32_t> crcs, ListUnits(job.place));
  BufferRef buffer = Allocate(job.place, page.length);
  if (buffer == nullptr) return {Code::kBusy, "no buffer is free"};
  const auto bytes = buffer->span().first(page.length);
  std::memset(bytes.data(), 0, bytes.size());
  Status failed;
  for (uint32_t at = 0; at < page.length; at += kBlockBytes) {
    const Range block{page.state, page.offset + at, std::min(kBlockBytes, page.length - at)};
    RETURN_IF_ERROR(pacer_.Take(block.length));
    const Status status = ReadBlock(job, block, sources, crcs, bytes.subspan(at, block.length));
    if (status.ok()) continue;
    if (!IsForGood(status)) return status;
    if (failed.ok()) failed = status;
  }
  const Status status = Rewrite(job.place, page.offset, std::move(buffer), bytes);
  if (status.code() != Code::kCorrupt) return status.ok() ? failed : status;
  return failed.ok() ? Status(Code::kStale, "it was changed meanwhile") : failed;
}

Status Repairer::ReadBlock(Job& job, const Range& block, const Sources& sources,
                           const std::vector<uint32_t>& crcs, std::span<uint8_t> into) {
  const auto take = [](const Engine::ReadAnswer& read, std::span<uint8_t> place) {
    if (read.bytes.size() != place.size()) return Status(Code::kStale, "it was cut meanwhile");
    std::copy(read.bytes.begin(), read.bytes.end(), place.begin());
    return Status::Ok();
  };
  const auto whole = ReadHere(job.place, block.offset, block.length);
  if (whole.ok()) return take(*whole, into);
  if (!IsDamage(whole.status())) return whole.status();
  for (uint32_t at = 0; at < block.length; at += kUnitBytes) {
    const Range unit{block.state, block.offset + at, std::min(kUnitBytes, block.length - at)};
    const auto part = into.subspan(at, unit.length);
    const auto here = ReadHere(job.place, unit.offset, unit.length);
    if (here.ok()) {
      RETURN_IF_ERROR(take(*here, part));
    } else if (!IsDamage(here.status())) {
      return here.status();
    } else if (unit.offset / kUnitBytes >= crcs.size()) {
      return {Code::kStale, "it was cut meanwhile"};
    } else {
      RETURN_IF_ERROR(FetchUnit(job, unit, sources, crcs[unit.offset / kUnitBytes], part));
    }
  }
  return Status::Ok();
}

Status Repairer::FetchUnit(Job& job, const Range& unit, const Sources& sources, uint32_t crc,
                           std::span<uint8_t> into) {
  Status failed;
  for (TargetId from : sources.targets) {
    RETURN_IF_ERROR(pacer_.Take(unit.length));
    const auto piece = ReadThere(job.place, sources.version, from, unit);
    Status status = piece.status();
    if (status.ok() && PaddedUnitCrc(piece->bytes) == crc) {
      std::copy(piece->bytes.begin(), piece->bytes.end(), into.begin());
      job.from = from;
      return Status::Ok();
    }
    if (status.ok()) {
      const bool same = piece->version == unit.state.version;
      status = {same ? Code::kCorrupt : Code::kStale,
                "it has other bytes there, of version " + ToString(piece->version) + " (here " +
                    ToString(unit.state.version) + ")"};
    }
    // One that may have it later counts for more than one that never will.
    if (failed.ok() || (IsForGood(failed) && !IsForGood(status)))
      failed = status.With("target " + ToString(from));
  }
  return failed;
}

BufferRef Repairer::Allocate(const Place& place, size_t bytes) {
  return Await<BufferRef>([&](auto done) {
    place.io->Post([io = place.io, bytes, done] { done(io->Allocate(bytes)); });
  });
}

Result<Engine::ReadAnswer> Repairer::ReadHere(const Place& place, uint32_t offset,
                                              uint32_t length) {
  return Await<Result<Engine::ReadAnswer>>([&](auto done) {
    place.io->Post([place, offset, length, done] {
      place.engine->ReadAt(*place.io, place.key, Engine::kNewest, offset, length, done);
    });
  });
}

Result<std::vector<uint32_t>> Repairer::ListUnits(const Place& place) {
  return Await<Result<std::vector<uint32_t>>>([&](auto done) {
    place.io->Post([place, done] { place.engine->ListUnits(*place.io, place.key, done); });
  });
}

// As a client without a session: what the chain has committed there.
Result<Repairer::Piece> Repairer::ReadThere(const Place& place, ChainVersion version, TargetId from,
                                            const Range& range) {
  Piece piece;
  piece.buffer = Allocate(place, range.length);
  if (piece.buffer == nullptr) return Status(Code::kBusy, "no buffer is free");
  proto::ReadChunkRequest request;
  request.mutable_ctx()->set_chain_id(place.key.chain.value());
  request.mutable_ctx()->set_chain_version(version.value());
  request.mutable_chunk()->set_data_id(place.key.chunk.data_id.value());
  request.mutable_chunk()->set_index(place.key.chunk.index);
  request.set_offset(range.offset);
  request.set_length(range.length);
  const auto into = piece.buffer->span().first(range.length);
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
  piece.version = ChunkVersion(response.version());
  if (reply.payload_size != into.size())
    return Status(Code::kStale, "it has another length there");
  piece.bytes = into;
  if (Crc32c(piece.bytes) != response.crc32c())
    return Status(Code::kUnavailable, "the bytes were changed on the way");
  return piece;
}

Status Repairer::Rewrite(const Place& place, uint32_t offset, BufferRef buffer,
                         std::span<const uint8_t> bytes) {
  Engine::WriteArgs args{
      .key = place.key, .offset = offset, .buffer = std::move(buffer), .bytes = bytes};
  return Await<Result<Engine::ChunkState>>([&](auto done) {
           place.engine->Rewrite(*place.io, std::move(args), done);
         })
      .status();
}

}  // namespace sheaf::storage
