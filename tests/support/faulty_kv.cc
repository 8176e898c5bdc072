#include "tests/support/faulty_kv.h"

#include <rocksdb/file_system.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <utility>

#include "common/status.h"

namespace sheaf::meta {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

bool IsLog(const std::string& path) { return path.ends_with(".log"); }

std::string DirectoryOf(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

}  // namespace

class FaultyFileSystem final : public rocksdb::FileSystemWrapper {
 private:
  template <typename F>
  auto Locked(F f) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return f();
  }

 public:
  explicit FaultyFileSystem(uint64_t seed)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), random_(seed) {}

  const char* Name() const override { return "FaultyFileSystem"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* debug) override;
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* result,
                        IODebugContext* debug) override;
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override;
  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override;

  // Whether a change may happen now. Counts log operations; crashes at the chosen one.
  IOStatus Admit(const std::string& path, bool needs_space, bool log_operation = false);
  void Synced(const std::string& path, uint64_t bytes);
  void DirectorySynced(const std::string& path);

  void Crash() {
    Locked([&] { crashed_ = true; });
  }
  void CrashAt(uint64_t nth) {
    Locked([&] { crash_at_ = nth; });
  }
  void Fill(bool full) {
    Locked([&] { full_ = full; });
  }
  bool crashed() {
    return Locked([&] { return crashed_; });
  }
  uint64_t log_operations() {
    return Locked([&] { return log_operations_; });
  }
  void Recover(bool rot);

 private:
  void Forget(const std::string& path, uint64_t durable, bool rot);

  std::mutex mutex_;
  std::mt19937_64 random_;
  std::map<std::string, uint64_t> durable_;  // bytes of each file that are synced
  std::set<std::string> unnamed_;            // files whose name is not durable yet
  bool crashed_ = false;
  bool full_ = false;
  uint64_t crash_at_ = 0;
  uint64_t log_operations_ = 0;
};

namespace {

class FaultyFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::string path, FaultyFileSystem* fs)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), fs_(fs) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const IOStatus admitted = fs_->Admit(path_, true, IsLog(path_));
    if (!admitted.ok()) return admitted;
    bytes_ += data.size();
    return FSWritableFileOwnerWrapper::Append(data, options, debug);
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*info*/, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return SyncBy([&] { return FSWritableFileOwnerWrapper::Sync(options, debug); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return SyncBy([&] { return FSWritableFileOwnerWrapper::Fsync(options, debug); });
  }
  // Preallocation and early write-back promise nothing.
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}

 private:
  // The real sync is left out: the tests crash no machine.
  template <typename Sync>
  IOStatus SyncBy(Sync /*sync*/) {
    const IOStatus admitted = fs_->Admit(path_, false, IsLog(path_));
    if (admitted.ok()) fs_->Synced(path_, bytes_);
    return admitted;
  }

  const std::string path_;
  FaultyFileSystem* fs_;
  uint64_t bytes_ = 0;
};

class FaultyDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FaultyDirectory(std::unique_ptr<rocksdb::FSDirectory> directory, std::string path,
                  FaultyFileSystem* fs)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), fs_(fs) {}

  IOStatus Fsync(const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
    return SyncNames();
  }
  IOStatus FsyncWithDirOptions(const IOOptions&, IODebugContext*,
                               const rocksdb::DirFsyncOptions&) override {
    return SyncNames();
  }

 private:
  IOStatus SyncNames() {
    const IOStatus admitted = fs_->Admit(path_, false);
    if (admitted.ok()) fs_->DirectorySynced(path_);
    return admitted;
  }

  const std::string path_;
  FaultyFileSystem* fs_;
};

}  // namespace

IOStatus FaultyFileSystem::Admit(const std::string& path, bool needs_space, bool log_operation) {
  return Locked([&] {
    if (log_operation && !crashed_ && ++log_operations_ == crash_at_) crashed_ = true;
    if (crashed_) return IOStatus::IOError("crashed", path);
    if (needs_space && full_) return IOStatus::NoSpace("disk full", path);
    return IOStatus::OK();
  });
}

void FaultyFileSystem::Synced(const std::string& path, uint64_t bytes) {
  Locked([&] { durable_[path] = bytes; });
}

void FaultyFileSystem::DirectorySynced(const std::string& path) {
  Locked([&] {
    std::erase_if(unnamed_, [&](const std::string& file) {
      return DirectoryOf(file) == std::filesystem::path(path + "/").parent_path().string();
    });
  });
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                                           IODebugContext* debug) {
  const IOStatus admitted = Admit(path, true);
  if (!admitted.ok()) return admitted;
  std::unique_ptr<rocksdb::FSWritableFile> file;
  const IOStatus made = FileSystemWrapper::NewWritableFile(path, options, &file, debug);
  if (!made.ok()) return made;
  Locked([&] {
    durable_[path] = 0;
    unnamed_.insert(path);
  });
  *result = std::make_unique<FaultyFile>(std::move(file), path, this);
  return made;
}

IOStatus FaultyFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                        std::unique_ptr<rocksdb::FSDirectory>* result,
                                        IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> directory;
  const IOStatus opened = FileSystemWrapper::NewDirectory(path, options, &directory, debug);
  if (opened.ok()) *result = std::make_unique<FaultyDirectory>(std::move(directory), path, this);
  return opened;
}

IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to,
                                      const IOOptions& options, IODebugContext* debug) {
  const IOStatus admitted = Admit(from, false);
  if (!admitted.ok()) return admitted;
  const IOStatus renamed = FileSystemWrapper::RenameFile(from, to, options, debug);
  if (!renamed.ok()) return renamed;
  Locked([&] {
    if (auto moved = durable_.extract(from)) {
      durable_.erase(to);
      moved.key() = to;
      durable_.insert(std::move(moved));
    }
    unnamed_.erase(from);
  });
  return renamed;
}

IOStatus FaultyFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                      IODebugContext* debug) {
  const IOStatus admitted = Admit(path, false);
  if (!admitted.ok()) return admitted;
  Locked([&] {
    durable_.erase(path);
    unnamed_.erase(path);
  });
  return FileSystemWrapper::DeleteFile(path, options, debug);
}

void FaultyFileSystem::Forget(const std::string& path, uint64_t durable, bool rot) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error || size <= durable) return;
  const uint64_t kept = durable + random_() % (size - durable + 1);
  std::filesystem::resize_file(path, kept);
  if (!rot || kept == durable) return;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto at = static_cast<std::streamoff>(durable + random_() % (kept - durable));
  file.seekg(at);
  const int byte = file.get();
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1 << random_() % 8));
}

void FaultyFileSystem::Recover(bool rot) {
  Locked([&] {
    CHECK(crashed_, "recover without a crash");
    for (const std::string& path : unnamed_) {
      std::filesystem::remove(path);
      durable_.erase(path);
    }
    for (const auto& [path, durable] : durable_) Forget(path, durable, rot);
    // What is on the disk now has survived.
    durable_.clear();
    unnamed_.clear();
    crashed_ = false;
    crash_at_ = 0;
  });
}

FaultyEnv::FaultyEnv(uint64_t seed)
    : fs_(std::make_shared<FaultyFileSystem>(seed)), env_(rocksdb::NewCompositeEnv(fs_)) {}
FaultyEnv::~FaultyEnv() = default;

void FaultyEnv::Crash() { fs_->Crash(); }
void FaultyEnv::CrashAtLogOperation(uint64_t nth) { fs_->CrashAt(nth); }
bool FaultyEnv::crashed() const { return fs_->crashed(); }
uint64_t FaultyEnv::log_operations() const { return fs_->log_operations(); }
void FaultyEnv::FillDisk(bool full) { fs_->Fill(full); }
void FaultyEnv::Recover(bool rot) { fs_->Recover(rot); }

}  // namespace sheaf::meta
