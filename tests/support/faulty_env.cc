#include "tests/support/faulty_env.h"

#include <rocksdb/file_system.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <set>

namespace sheaf::testing {

namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

struct Inode {
  std::string bytes;
  std::string synced;
};
using InodeRef = std::shared_ptr<Inode>;
using Names = std::map<std::string, InodeRef>;

struct State {
  explicit State(std::shared_ptr<CrashPoint> point)
      : crash(point != nullptr ? std::move(point) : std::make_shared<CrashPoint>()) {}

  // Counts one event. Under the lock.
  IOStatus Step() { return crash->Step() ? IOStatus::OK() : IOStatus::IOError("machine is dead"); }

  const std::shared_ptr<CrashPoint> crash;
  std::mutex mutex;
  Names names;
  Names durable_names;
  std::set<std::string> directories;
  std::set<uint64_t> ignored_log_syncs;
  bool ignore_all_log_syncs = false;
  bool full = false;
  bool fail_syncs = false;
  bool hold_log_syncs = false;
  std::condition_variable log_syncs_released;
  uint64_t held_log_syncs = 0;
  uint64_t log_syncs = 0;
};
using StateRef = std::shared_ptr<State>;

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string Normal(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  size_t twice;
  while ((twice = path.find("//")) != std::string::npos) path.erase(twice, 1);
  return path;
}

class SequentialFile : public rocksdb::FSSequentialFile {
 public:
  SequentialFile(StateRef state, InodeRef inode)
      : state_(std::move(state)), inode_(std::move(inode)) {}
  IOStatus Read(size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) override {
    std::lock_guard lock(state_->mutex);
    n = at_ < inode_->bytes.size() ? std::min(n, inode_->bytes.size() - at_) : 0;
    std::memcpy(scratch, inode_->bytes.data() + std::min(at_, inode_->bytes.size()), n);
    *result = Slice(scratch, n);
    at_ += n;
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t n) override {
    at_ += n;
    return IOStatus::OK();
  }

 private:
  StateRef state_;
  InodeRef inode_;
  size_t at_ = 0;
};

class RandomAccessFile : public rocksdb::FSRandomAccessFile {
 public:
  RandomAccessFile(StateRef state, InodeRef inode)
      : state_(std::move(state)), inode_(std::move(inode)) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    std::lock_guard lock(state_->mutex);
    const size_t size = inode_->bytes.size();
    n = offset < size ? std::min<size_t>(n, size - offset) : 0;
    std::memcpy(scratch, inode_->bytes.data() + std::min<size_t>(offset, size), n);
    *result = Slice(scratch, n);
    return IOStatus::OK();
  }

 private:
  StateRef state_;
  InodeRef inode_;
};

class WritableFile : public rocksdb::FSWritableFile {
 public:
  WritableFile(StateRef state, InodeRef inode, bool is_log)
      : state_(std::move(state)), inode_(std::move(inode)), is_log_(is_log) {}
  using rocksdb::FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    std::lock_guard lock(state_->mutex);
    if (state_->full) return IOStatus::NoSpace("the disk is full");
    if (state_->crash->dead()) return IOStatus::IOError("machine is dead");
    const bool alive = state_->crash->Step();  // the machine may die within the write
    if (inode_->bytes.size() < at_ + data.size()) inode_->bytes.resize(at_ + data.size());
    std::memcpy(inode_->bytes.data() + at_, data.data(), data.size());
    at_ += data.size();
    return alive ? IOStatus::OK() : IOStatus::IOError("machine is dead");
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    std::lock_guard lock(state_->mutex);
    IOStatus step = state_->Step();
    if (!step.ok()) return step;
    inode_->bytes.resize(size);
    at_ = size;
    return IOStatus::OK();
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    std::unique_lock lock(state_->mutex);
    if (is_log_) {
      ++state_->held_log_syncs;
      state_->log_syncs_released.wait(lock, [this] { return !state_->hold_log_syncs; });
      --state_->held_log_syncs;
    }
    IOStatus step = state_->Step();
    if (!step.ok()) return step;
    if (state_->fail_syncs) return IOStatus::IOError("device error");
    if (is_log_) {
      const uint64_t number = state_->log_syncs++;
      if (state_->ignore_all_log_syncs || state_->ignored_log_syncs.contains(number)) {
        return IOStatus::OK();
      }
    }
    inode_->synced = inode_->bytes;
    return IOStatus::OK();
  }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return at_; }

 private:
  StateRef state_;
  InodeRef inode_;
  const bool is_log_;
  size_t at_ = 0;
};

class Directory : public rocksdb::FSDirectory {
 public:
  Directory(StateRef state, std::string path) : state_(std::move(state)), path_(std::move(path)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    std::lock_guard lock(state_->mutex);
    IOStatus step = state_->Step();
    if (!step.ok()) return step;
    if (state_->fail_syncs) return IOStatus::IOError("device error");
    const auto in_here = [this](const auto& entry) { return DirectoryOf(entry.first) == path_; };
    std::erase_if(state_->durable_names, in_here);
    for (const auto& entry : state_->names) {
      if (in_here(entry)) state_->durable_names.insert(entry);
    }
    return IOStatus::OK();
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  StateRef state_;
  const std::string path_;
};

class Lock : public rocksdb::FileLock {};

}  // namespace

class FaultyEnv::Files : public rocksdb::FileSystem {
 public:
  explicit Files(StateRef shared) : state(std::move(shared)) {}
  const char* Name() const override { return "FaultyFileSystem"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions&,
                             std::unique_ptr<rocksdb::FSSequentialFile>* result,
                             IODebugContext*) override {
    InodeRef inode = Find(path);
    if (inode == nullptr) return IOStatus::PathNotFound(path);
    *result = std::make_unique<SequentialFile>(state, inode);
    return IOStatus::OK();
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions&,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                               IODebugContext*) override {
    InodeRef inode = Find(path);
    if (inode == nullptr) return IOStatus::PathNotFound(path);
    *result = std::make_unique<RandomAccessFile>(state, inode);
    return IOStatus::OK();
  }
  IOStatus NewWritableFile(const std::string& path, const FileOptions&,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext*) override {
    std::lock_guard lock(state->mutex);
    IOStatus step = state->Step();
    if (!step.ok()) return step;
    auto inode = std::make_shared<Inode>();
    state->names[Normal(path)] = inode;
    *result = std::make_unique<WritableFile>(state, inode, path.ends_with(".log"));
    return IOStatus::OK();
  }
  // Written over from the front; what is not reached keeps its old bytes, as on a real disk.
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                             const FileOptions&, std::unique_ptr<rocksdb::FSWritableFile>* result,
                             IODebugContext* debug) override {
    IOStatus renamed = RenameFile(old_path, path, {}, debug);
    if (!renamed.ok()) return renamed;
    *result = std::make_unique<WritableFile>(state, Find(path), path.ends_with(".log"));
    return IOStatus::OK();
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions&,
                        std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext*) override {
    *result = std::make_unique<Directory>(state, Normal(path));
    return IOStatus::OK();
  }
  IOStatus FileExists(const std::string& path, const IOOptions&, IODebugContext*) override {
    if (Find(path) != nullptr || IsKnownDirectory(path)) return IOStatus::OK();
    return IOStatus::NotFound(path);
  }
  IOStatus GetChildren(const std::string& path, const IOOptions&,
                       std::vector<std::string>* result, IODebugContext*) override {
    std::lock_guard lock(state->mutex);
    const std::string directory = Normal(path);
    result->clear();
    for (const auto& [name, inode] : state->names) {
      if (DirectoryOf(name) == directory) result->push_back(name.substr(directory.size() + 1));
    }
    return IOStatus::OK();
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
    std::lock_guard lock(state->mutex);
    IOStatus step = state->Step();
    if (!step.ok()) return step;
    return state->names.erase(Normal(path)) > 0 ? IOStatus::OK() : IOStatus::PathNotFound(path);
  }
  IOStatus CreateDir(const std::string& path, const IOOptions& options,
                     IODebugContext* debug) override {
    return CreateDirIfMissing(path, options, debug);
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&,
                              IODebugContext*) override {
    std::lock_guard lock(state->mutex);
    state->directories.insert(Normal(path));
    return IOStatus::OK();
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    std::lock_guard lock(state->mutex);
    state->directories.erase(Normal(path));
    return IOStatus::OK();
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions&, uint64_t* size,
                       IODebugContext*) override {
    InodeRef inode = Find(path);
    if (inode == nullptr) return IOStatus::PathNotFound(path);
    std::lock_guard lock(state->mutex);
    *size = inode->bytes.size();
    return IOStatus::OK();
  }
  IOStatus GetFileModificationTime(const std::string&, const IOOptions&, uint64_t* time,
                                   IODebugContext*) override {
    *time = 0;
    return IOStatus::OK();
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&,
                      IODebugContext*) override {
    std::lock_guard lock(state->mutex);
    auto found = state->names.find(Normal(from));
    if (found == state->names.end()) return IOStatus::PathNotFound(from);
    IOStatus step = state->Step();
    if (!step.ok()) return step;
    InodeRef inode = found->second;
    state->names.erase(found);
    state->names[Normal(to)] = inode;
    return IOStatus::OK();
  }
  IOStatus LockFile(const std::string&, const IOOptions&, rocksdb::FileLock** lock,
                    IODebugContext*) override {
    *lock = new Lock;
    return IOStatus::OK();
  }
  IOStatus UnlockFile(rocksdb::FileLock* lock, const IOOptions&, IODebugContext*) override {
    delete static_cast<Lock*>(lock);
    return IOStatus::OK();
  }
  IOStatus GetTestDirectory(const IOOptions&, std::string* path, IODebugContext*) override {
    *path = "/test";
    return IOStatus::OK();
  }
  IOStatus GetAbsolutePath(const std::string& path, const IOOptions&, std::string* result,
                           IODebugContext*) override {
    *result = path;
    return IOStatus::OK();
  }
  IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is_directory,
                       IODebugContext*) override {
    *is_directory = IsKnownDirectory(path);
    return IOStatus::OK();
  }

  const StateRef state;

 private:
  InodeRef Find(const std::string& path) {
    std::lock_guard lock(state->mutex);
    auto found = state->names.find(Normal(path));
    return found != state->names.end() ? found->second : nullptr;
  }
  bool IsKnownDirectory(const std::string& path) {
    std::lock_guard lock(state->mutex);
    return state->directories.contains(Normal(path));
  }
};

FaultyEnv::FaultyEnv(std::shared_ptr<CrashPoint> crash)
    : files_(std::make_shared<Files>(std::make_shared<State>(std::move(crash)))),
      env_(rocksdb::NewCompositeEnv(files_)) {}

FaultyEnv::~FaultyEnv() = default;

std::unique_ptr<FaultyEnv> FaultyEnv::Survivor(uint64_t seed,
                                               std::shared_ptr<CrashPoint> crash) const {
  auto survivor = std::make_unique<FaultyEnv>(std::move(crash));
  State& from = *files_->state;
  State& to = *survivor->files_->state;
  std::lock_guard lock(from.mutex);
  std::mt19937_64 random(seed);
  to.directories = from.directories;
  for (const auto& [name, inode] : from.durable_names) {
    auto copy = std::make_shared<Inode>();
    copy->bytes = inode->synced;
    const std::string& latest = inode->bytes;
    const size_t common = std::min(copy->bytes.size(), latest.size());
    for (size_t at = 0; at < common; at += 512) {
      if (random() % 2 == 0) latest.copy(copy->bytes.data() + at, std::min<size_t>(512, common - at), at);
    }
    if (latest.size() > common) {
      copy->bytes.append(latest, common, random() % (latest.size() - common + 1));
    }
    copy->synced = copy->bytes;
    to.names[name] = to.durable_names[name] = copy;
  }
  return survivor;
}

void FaultyEnv::SetFull(bool full) {
  std::lock_guard lock(files_->state->mutex);
  files_->state->full = full;
}

void FaultyEnv::FailSyncs(bool fail) {
  std::lock_guard lock(files_->state->mutex);
  files_->state->fail_syncs = fail;
}

void FaultyEnv::IgnoreLogSync(uint64_t number) {
  std::lock_guard lock(files_->state->mutex);
  files_->state->ignored_log_syncs.insert(number);
}

void FaultyEnv::IgnoreAllLogSyncs() {
  std::lock_guard lock(files_->state->mutex);
  files_->state->ignore_all_log_syncs = true;
}

void FaultyEnv::HoldLogSyncs() {
  std::lock_guard lock(files_->state->mutex);
  files_->state->hold_log_syncs = true;
}

void FaultyEnv::ReleaseLogSyncs() {
  {
    std::lock_guard lock(files_->state->mutex);
    files_->state->hold_log_syncs = false;
  }
  files_->state->log_syncs_released.notify_all();
}

uint64_t FaultyEnv::held_log_syncs() const {
  std::lock_guard lock(files_->state->mutex);
  return files_->state->held_log_syncs;
}

uint64_t FaultyEnv::log_syncs() const {
  std::lock_guard lock(files_->state->mutex);
  return files_->state->log_syncs;
}

}  // namespace sheaf::testing
