#include "tests/support/fake_disk.h"

#include <algorithm>
#include <cstring>
#include <future>

#include "common/buffer.h"

namespace sheaf::testing {

FakeDisk::FakeDisk(const Options& options)
    : crash_(options.crash != nullptr ? options.crash : std::make_shared<CrashPoint>()),
      capacity_(options.capacity) {}

Status FakeDisk::Check(const char* what, storage::FileSlot file, uint64_t offset,
                       size_t length) const {
  if (crash_->dead()) return Status(Code::kIo, std::string(what) + ": the machine is dead");
  auto found = files_.find(file);
  CHECK(found != files_.end(), "transfer to a file that is not open");
  CHECK(offset + length <= found->second.bytes.size(), "transfer past the end of a slab");
  return Status::Ok();
}

Result<storage::FileSlot> FakeDisk::Open(uint32_t number, uint64_t bytes, bool create) {
  std::lock_guard lock(mutex_);
  const std::string what = "open slab " + std::to_string(number);
  if (crash_->dead()) return Status(Code::kIo, what + ": the machine is dead");
  auto found = files_.find(number);
  if (found != files_.end()) {
    if (found->second.bytes.size() < bytes) return Status(Code::kCorrupt, what + ": too short");
    return storage::FileSlot{number};
  }
  if (!create) return Status(Code::kNotFound, what + ": no such file");
  uint64_t used = 0;
  for (const auto& [slot, file] : files_) used += file.bytes.size();
  if (used + bytes > capacity_) return Status(Code::kNoSpace, what + ": the disk is full");
  if (!crash_->Step()) return Status(Code::kIo, what + ": the machine is dead");
  files_[number].bytes.resize(bytes);
  return storage::FileSlot{number};
}

Status FakeDisk::Sync(storage::FileSlot slot) {
  {
    auto holds = holds_.Lock();
    ++holds->waiting;
    holds.Wait(released_, [&] { return !holds->held; });
    --holds->waiting;
  }
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Check("sync", slot, 0, 0));
  if (!crash_->Step()) return Status(Code::kIo, "sync: the machine is dead");
  if (fail_syncs_) return Status(Code::kIo, "sync: device error");
  const uint64_t number = syncs_++;
  if (ignore_all_syncs_ || ignored_syncs_.contains(number)) return Status::Ok();
  files_[slot].unsynced.clear();
  return Status::Ok();
}

Result<uint64_t> FakeDisk::FreeBytes() {
  std::lock_guard lock(mutex_);
  uint64_t used = 0;
  for (const auto& [slot, file] : files_) used += file.bytes.size();
  return capacity_ > used ? capacity_ - used : 0;
}

Result<uint64_t> FakeDisk::TotalBytes() {
  std::lock_guard lock(mutex_);
  return capacity_;
}

Status FakeDisk::ReadAt(storage::FileSlot slot, uint64_t offset, std::span<uint8_t> into) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Check("read", slot, offset, into.size()));
  if (fail_reads_) return Status(Code::kIo, "read: device error");
  if (fail_next_reads_ > 0) {
    --fail_next_reads_;
    return Status(Code::kIo, "read: passing device error");
  }
  const auto bad = bad_units_.lower_bound({slot, offset});
  if (bad != bad_units_.end() && bad->first == slot && bad->second < offset + into.size()) {
    return Status(Code::kIo, "read: unreadable sector");
  }
  std::memcpy(into.data(), files_[slot].bytes.data() + offset, into.size());
  return Status::Ok();
}

Status FakeDisk::WriteAt(storage::FileSlot slot, uint64_t offset,
                         std::span<const uint8_t> from) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Check("write", slot, offset, from.size()));
  // The machine may die within this write: then some of its sectors survive by chance.
  const bool alive = crash_->Step();
  if (alive && fail_writes_) return Status(Code::kIo, "write: device error");
  ++writes_;
  File& file = files_[slot];
  for (uint64_t at = offset; at < offset + from.size(); at += kSector) {
    auto [entry, is_new] = file.unsynced.try_emplace(at / kSector);
    if (is_new) std::memcpy(entry->second.data(), file.bytes.data() + at, kSector);
  }
  std::memcpy(file.bytes.data() + offset, from.data(), from.size());
  return alive ? Status::Ok() : Status(Code::kIo, "write: the machine is dead");
}

std::shared_ptr<FakeDisk> FakeDisk::Survivor(uint64_t seed,
                                             std::shared_ptr<CrashPoint> crash) const {
  std::lock_guard lock(mutex_);
  auto survivor =
      std::make_shared<FakeDisk>(Options{.seed = seed, .capacity = capacity_, .crash = crash});
  std::mt19937_64 random(seed);
  for (const auto& [slot, file] : files_) {
    File& copy = survivor->files_[slot];
    copy.bytes = file.bytes;
    for (const auto& [sector, before] : file.unsynced) {
      if (random() % 2 == 0) continue;
      std::memcpy(copy.bytes.data() + sector * kSector, before.data(), kSector);
    }
  }
  return survivor;
}

void FakeDisk::RotBits(storage::FileSlot slot, uint64_t offset, uint8_t flip) {
  std::lock_guard lock(mutex_);
  files_.at(slot).bytes.at(offset) ^= flip;
}

void FakeDisk::FailReadsAt(storage::FileSlot slot, uint64_t offset) {
  std::lock_guard lock(mutex_);
  bad_units_.insert({slot, offset / 4096 * 4096});
}

void FakeDisk::HoldSyncs() { holds_.Lock()->held = true; }

void FakeDisk::ReleaseSyncs() {
  holds_.Lock()->held = false;
  released_.notify_all();
}

void FakeDisk::IgnoreSync(uint64_t number) {
  std::lock_guard lock(mutex_);
  ignored_syncs_.insert(number);
}

void FakeDisk::SetCapacity(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

class FakeIoContext::Buffer : public storage::PooledBuffer {
 public:
  Buffer(size_t bytes, std::shared_ptr<std::atomic<size_t>> left)
      : memory_(bytes), left_(std::move(left)) {
    std::memset(memory_.data(), 0xa5, memory_.size());  // whoever trusts fresh memory is found
  }
  ~Buffer() override { *left_ += memory_.size(); }
  std::span<uint8_t> span() override { return memory_.span(); }

 private:
  AlignedBuffer memory_;
  std::shared_ptr<std::atomic<size_t>> left_;
};

FakeIoContext::FakeIoContext(std::shared_ptr<FakeDisk> disk, const Options& options)
    : disk_(std::move(disk)),
      shuffle_(options.shuffle),
      random_(options.seed),
      buffers_left_(std::make_shared<std::atomic<size_t>>(options.buffer_bytes)),
      thread_([this] { Run(); }) {}

FakeIoContext::~FakeIoContext() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    holding_ = false;
  }
  changed_.notify_all();
  thread_.join();
}

void FakeIoContext::CheckAligned(uint64_t offset, const void* memory, size_t length) const {
  CHECK(std::this_thread::get_id() == thread_.get_id(), "transfer from a foreign thread");
  CHECK(offset % kDirectAlignment == 0 && length % kDirectAlignment == 0 && length > 0 &&
            reinterpret_cast<uintptr_t>(memory) % kDirectAlignment == 0,
        "a direct transfer is not aligned");
}

void FakeIoContext::Read(storage::FileSlot file, uint64_t offset, storage::BufferRef buffer,
                         std::span<uint8_t> into, storage::IoDone done) {
  CheckAligned(offset, into.data(), into.size());
  Add({[this, file, offset, buffer, into] { return disk_->ReadAt(file, offset, into); },
       std::move(done)});
}

void FakeIoContext::Write(storage::FileSlot file, uint64_t offset, storage::BufferRef buffer,
                          std::span<const uint8_t> from, storage::IoDone done) {
  CheckAligned(offset, from.data(), from.size());
  Add({[this, file, offset, buffer, from] { return disk_->WriteAt(file, offset, from); },
       std::move(done)});
}

void FakeIoContext::Add(Transfer transfer) {
  std::lock_guard lock(mutex_);
  transfers_.push_back(std::move(transfer));
}

storage::BufferRef FakeIoContext::Allocate(size_t bytes) {
  const size_t rounded = (bytes + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
  size_t left = *buffers_left_;
  while (left >= rounded) {
    if (buffers_left_->compare_exchange_weak(left, left - rounded)) {
      return std::make_shared<Buffer>(rounded, buffers_left_);
    }
  }
  return nullptr;
}

void FakeIoContext::Post(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  changed_.notify_all();
}

void FakeIoContext::HoldTransfers() {
  std::lock_guard lock(mutex_);
  holding_ = true;
}

void FakeIoContext::ReleaseTransfers() {
  std::lock_guard lock(mutex_);
  holding_ = false;
  changed_.notify_all();
}

void FakeIoContext::RunAndWait(const std::function<void()>& task) {
  std::promise<void> ran;
  Post([&] {
    task();
    ran.set_value();
  });
  ran.get_future().wait();
}

void FakeIoContext::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto has_transfer = [this] { return !holding_ && !transfers_.empty(); };
    changed_.wait(lock, [&] { return stopping_ || !tasks_.empty() || has_transfer(); });
    if (!tasks_.empty()) {
      auto tasks = std::exchange(tasks_, {});
      lock.unlock();
      for (const auto& task : tasks) task();
      tasks.clear();
      lock.lock();
      // With shuffling, tasks that arrive meanwhile sometimes go first and sometimes later.
      if (!shuffle_ || !has_transfer() || random_() % 2 == 0) continue;
    }
    if (has_transfer()) {
      const size_t pick = shuffle_ ? random_() % transfers_.size() : 0;
      Transfer transfer = std::move(transfers_[pick]);
      transfers_.erase(transfers_.begin() + static_cast<ptrdiff_t>(pick));
      lock.unlock();
      transfer.done(transfer.run());
      transfer = {};
      lock.lock();
      continue;
    }
    if (stopping_ && tasks_.empty() && transfers_.empty()) return;
  }
}

}  // namespace sheaf::testing
