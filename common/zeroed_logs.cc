#include "common/zeroed_logs.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

namespace sheaf {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

bool IsLog(const std::string& path) { return path.ends_with(".log"); }

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

class ZeroedLogs final : public rocksdb::FileSystemWrapper {
 public:
  ZeroedLogs(const std::shared_ptr<rocksdb::FileSystem>& base, uint64_t log_bytes)
      : FileSystemWrapper(base), log_bytes_(log_bytes) {}

  const char* Name() const override { return "ZeroedLogs"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext* debug) override {
    if (IsLog(path) && OverSpare(path, options, file, debug).ok()) return IOStatus::OK();
    return FileSystemWrapper::NewWritableFile(path, options, file, debug);
  }

  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override {
    const IOStatus removed = FileSystemWrapper::DeleteFile(path, options, debug);
    if (!removed.ok() || !IsLog(path)) return removed;
    (void)EnsureSpare(DirectoryOf(path), debug);  // else the next log makes one
    return removed;
  }

 private:
  static constexpr size_t kPieceBytes = 256 << 10;
  static constexpr uint64_t kNeededRoom = 4;  // times a log's bytes

  static std::string Spare(const std::string& directory) { return directory + "/spare"; }

  bool Exists(const std::string& path) { return FileExists(path, {}, nullptr).ok(); }

  IOStatus OverSpare(const std::string& path, const FileOptions& options,
                     std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
    const std::string directory = DirectoryOf(path);
    IOStatus status = EnsureSpare(directory, debug);
    if (status.ok()) status = ReuseWritableFile(path, Spare(directory), options, file, debug);
    if (status.ok()) status = SyncNames(directory, debug);
    if (!status.ok()) file->reset();
    return status;
  }

  bool HasRoom(const std::string& directory) {
    uint64_t free = 0;
    return !GetFreeSpace(directory, {}, &free, nullptr).ok() || free >= kNeededRoom * log_bytes_;
  }

  // Nobody waits for another's: a log that finds none then grows.
  IOStatus EnsureSpare(const std::string& directory, IODebugContext* debug) {
    const std::unique_lock lock(making_, std::try_to_lock);
    if (Exists(Spare(directory))) return IOStatus::OK();
    return lock.owns_lock() ? MakeSpare(directory, debug) : IOStatus::Busy(directory);
  }

  IOStatus MakeSpare(const std::string& directory, IODebugContext* debug) {
    if (!HasRoom(directory)) return IOStatus::NoSpace(directory);
    const std::string making = directory + "/spare.making";
    std::unique_ptr<rocksdb::FSWritableFile> file;
    IOStatus status = FileSystemWrapper::NewWritableFile(making, {}, &file, debug);
    if (status.ok()) status = FillWithZeros(*file, debug);
    if (status.ok()) status = file->Close({}, debug);
    if (status.ok()) return RenameFile(making, Spare(directory), {}, debug);
    if (file != nullptr) FileSystemWrapper::DeleteFile(making, {}, debug);
    return status;
  }

  IOStatus FillWithZeros(rocksdb::FSWritableFile& file, IODebugContext* debug) const {
    const std::string zeros(std::min<uint64_t>(kPieceBytes, log_bytes_), '\0');
    for (uint64_t at = 0; at < log_bytes_;) {
      const auto count = std::min<uint64_t>(zeros.size(), log_bytes_ - at);
      const IOStatus status = file.Append(Slice(zeros.data(), count), {}, debug);
      if (!status.ok()) return status;
      at += count;
    }
    return file.Fsync({}, debug);
  }

  IOStatus SyncNames(const std::string& directory, IODebugContext* debug) {
    std::unique_ptr<rocksdb::FSDirectory> names;
    const IOStatus status = NewDirectory(directory, {}, &names, debug);
    return status.ok() ? names->FsyncWithDirOptions({}, debug, {}) : status;
  }

  const uint64_t log_bytes_;
  std::mutex making_;  // one spare is made at a time
};

}  // namespace

std::unique_ptr<rocksdb::Env> ZeroedLogsEnv(rocksdb::Env* base, uint64_t log_bytes) {
  std::shared_ptr<rocksdb::FileSystem> files =
      (base != nullptr ? base : rocksdb::Env::Default())->GetFileSystem();
  if (log_bytes > 0) files = std::make_shared<ZeroedLogs>(files, log_bytes);
  return rocksdb::NewCompositeEnv(files);
}

}  // namespace sheaf
