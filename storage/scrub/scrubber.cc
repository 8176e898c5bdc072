#include "storage/scrub/scrubber.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {
namespace {

constexpr std::chrono::seconds kSaveEvery{30};
constexpr std::chrono::milliseconds kBusyRest{100};

std::string KeyText(const Engine::ChunkKey& key) {
  return ToString(key.chain) + "/" + ToString(key.chunk);
}

template <typename T>
struct Answer {
  std::promise<Result<T>> promise;
};

}  // namespace

Scrubber::Scrubber(Engine& engine, IoContext& io, const Clock& clock, Options options)
    : engine_(engine), io_(io), clock_(clock), options_(std::move(options)) {
  if (options_.bytes_per_s > 0) thread_ = std::thread([this] { Loop(); });
}

Scrubber::~Scrubber() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool Scrubber::Start() {
  if (options_.bytes_per_s == 0) return false;
  {
    std::lock_guard lock(mutex_);
    restart_ = true;
  }
  changed_.notify_all();
  return true;
}

Scrubber::Progress Scrubber::GetProgress(bool with_bad) const {
  std::lock_guard lock(mutex_);
  Progress progress = progress_;
  progress.bad_count = bad_.size() + bad_uncounted_;
  if (!with_bad) return progress;
  for (const auto& [key, bad] : bad_) progress.bad.push_back({key, bad.status, bad.found_ns});
  return progress;
}

void Scrubber::Repaired(const Engine::ChunkKey& key) {
  std::lock_guard lock(mutex_);
  bad_.erase(key);
  ++progress_.repaired;
}

bool Scrubber::Interrupted() const {
  std::lock_guard lock(mutex_);
  return stopping_ || restart_;
}

bool Scrubber::Rest(Clock::Instant duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [this] { return stopping_ || restart_; });
}

void Scrubber::Loop() {
  LoadPosition();
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) break;
      if (std::exchange(restart_, false)) after_.reset();
      progress_.running = true;
      progress_.chunks = progress_.bytes = 0;
      progress_.began_ns = clock_.WallNanos();
    }
    if (Pass() == Outcome::kStop) continue;
    FinishPass();
    Rest(options_.rest_between_passes);
  }
  SavePosition();
}

Scrubber::Outcome Scrubber::Pass() {
  for (;;) {
    if (Interrupted()) return Outcome::kStop;
    auto page = ListNext();
    if (!page.ok()) {
      // The index does not answer, or too much is queued: not a chunk's fault.
      if (page.status().code() != Code::kBusy) {
        LogWarn("scrub {}: {}", options_.target, page.status().ToString());
      }
      if (!Rest(std::chrono::seconds(page.status().code() == Code::kBusy ? 1 : 30))) {
        return Outcome::kStop;
      }
      continue;
    }
    for (const Engine::ListedChunk& chunk : *page) {
      if (ScrubChunk(chunk) == Outcome::kStop) return Outcome::kStop;
      after_ = chunk.key;
      if (clock_.Now() - saved_ > kSaveEvery) SavePosition();
    }
    if (page->size() < kPage) return Outcome::kGoOn;
  }
}

// Its first bad piece is what is told: a repair writes the whole chunk.
Scrubber::Outcome Scrubber::ScrubChunk(const Engine::ListedChunk& chunk) {
  Status bad = chunk.damage;
  for (uint32_t offset = 0; bad.ok() && offset < chunk.state.length;) {
    const Clock::Instant began = Clock::System().Now();
    auto read = ReadPiece(chunk.key, offset);
    if (read.status().code() == Code::kBusy) {
      if (!Rest(kBusyRest)) return Outcome::kStop;
      continue;
    }
    if (!read.ok()) {
      bad = read.status();
      break;
    }
    if (*read == 0) break;  // shortened or removed meanwhile
    offset += static_cast<uint32_t>(*read);
    {
      std::lock_guard lock(mutex_);
      progress_.bytes += *read;
      progress_.total_bytes += *read;
    }
    const Clock::Instant took = Clock::System().Now() - began;
    const auto at_rate = std::chrono::nanoseconds(*read * 1'000'000'000 / options_.bytes_per_s);
    if (!Rest(std::max<Clock::Instant>(at_rate - took, took))) return Outcome::kStop;
  }
  Note(chunk.key, bad);
  return Outcome::kGoOn;
}

void Scrubber::Note(const Engine::ChunkKey& key, const Status& status) {
  BadChunk told{key, status, clock_.WallNanos()};
  {
    std::lock_guard lock(mutex_);
    ++progress_.chunks;
    auto known = bad_.find(key);
    if (status.ok()) {
      if (known != bad_.end()) bad_.erase(known);
      return;
    }
    if (known != bad_.end()) {
      known->second.status = status;
      known->second.pass = progress_.passes;
      told.found_ns = known->second.found_ns;
    } else if (bad_.size() < kMaxBad) {
      bad_[key] = {status, told.found_ns, progress_.passes};
    } else {
      ++bad_uncounted_;
    }
  }
  LogError("scrub {}: chunk {} is bad: {}", options_.target, KeyText(key), status.ToString());
  if (options_.on_bad) options_.on_bad(told);
}

void Scrubber::FinishPass() {
  after_.reset();
  {
    std::lock_guard lock(mutex_);
    // A chunk that this pass did not meet is gone.
    std::erase_if(bad_, [&](const auto& entry) { return entry.second.pass != progress_.passes; });
    bad_uncounted_ = 0;
    ++progress_.passes;
    progress_.running = false;
    progress_.ended_ns = clock_.WallNanos();
    LogInfo("scrub {}: {} chunks, {} bytes, {} bad", options_.target, progress_.chunks,
            progress_.bytes, bad_.size());
  }
  SavePosition();
}

Result<std::vector<Engine::ListedChunk>> Scrubber::ListNext() {
  auto answer = std::make_shared<Answer<std::vector<Engine::ListedChunk>>>();
  auto future = answer->promise.get_future();
  io_.Post([this, answer, after = after_] {
    engine_.ListAll(io_, after, kPage, [answer](Result<std::vector<Engine::ListedChunk>> page) {
      answer->promise.set_value(std::move(page));
    });
  });
  return future.get();
}

// The engine verifies; the bytes are let go at once.
Result<size_t> Scrubber::ReadPiece(const Engine::ChunkKey& key, uint32_t offset) {
  auto answer = std::make_shared<Answer<size_t>>();
  auto future = answer->promise.get_future();
  io_.Post([this, answer, key, offset] {
    engine_.Read(io_, key, offset, kPiece, [answer](Result<Engine::ReadAnswer> read) {
      if (read.ok()) {
        answer->promise.set_value(read->bytes.size());
      } else {
        answer->promise.set_value(read.status());
      }
    });
  });
  return future.get();
}

// One line: chain, data_id and index of the last chunk that was scrubbed.
void Scrubber::LoadPosition() {
  if (options_.position_file.empty()) return;
  std::ifstream file(options_.position_file);
  uint32_t chain = 0;
  uint64_t data_id = 0;
  uint32_t index = 0;
  if (file >> chain >> data_id >> index) {
    after_ = Engine::ChunkKey{ChainId(chain), {DataId(data_id), index}};
    LogInfo("scrub {}: goes on after chunk {}", options_.target, KeyText(*after_));
  }
}

void Scrubber::SavePosition() {
  saved_ = clock_.Now();
  if (options_.position_file.empty()) return;
  std::error_code error;
  if (!after_) {
    std::filesystem::remove(options_.position_file, error);
    return;
  }
  const std::string aside = options_.position_file + ".new";
  {
    std::ofstream file(aside, std::ios::trunc);
    file << after_->chain.value() << ' ' << after_->chunk.data_id.value() << ' '
         << after_->chunk.index << '\n';
    if (!file.flush()) return;  // a full disk: the next start begins earlier
  }
  std::filesystem::rename(aside, options_.position_file, error);
}

}  // namespace sheaf::storage
