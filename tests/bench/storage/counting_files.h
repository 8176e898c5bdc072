#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "storage/disk/io_context.h"
#include "tests/bench/storage/figure.h"

namespace sheaf::bench {

// How many syncs there were and how long they took together. Thread-safe.
struct SyncCount {
  std::atomic<uint64_t> count{0};
  std::atomic<uint64_t> nanoseconds{0};

  template <typename Call>
  auto Around(const Call& call) {
    const double begin = NowSeconds();
    auto result = call();
    nanoseconds += static_cast<uint64_t>((NowSeconds() - begin) * 1e9);
    ++count;
    return result;
  }
};

// Slab files that count their syncs.
class CountingSlabs : public storage::SlabFiles {
 public:
  explicit CountingSlabs(std::shared_ptr<storage::SlabFiles> files) : files_(std::move(files)) {}

  Result<storage::FileSlot> Open(uint32_t number, uint64_t bytes, bool create) override {
    return files_->Open(number, bytes, create);
  }
  Status Sync(storage::FileSlot file) override {
    return syncs_.Around([&] { return files_->Sync(file); });
  }
  Result<uint64_t> FreeBytes() override { return files_->FreeBytes(); }
  Result<uint64_t> TotalBytes() override { return files_->TotalBytes(); }

  const SyncCount& syncs() const { return syncs_; }

 private:
  std::shared_ptr<storage::SlabFiles> files_;
  SyncCount syncs_;
};

// A RocksDB file system that counts the syncs of files; those of directories, one a new file, are
// left out.
class CountingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  using rocksdb::FileSystemWrapper::FileSystemWrapper;
  const char* Name() const override { return "CountingFileSystem"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    return Wrap(FileSystemWrapper::NewWritableFile(path, options, file, debug), file);
  }
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* debug) override {
    return Wrap(FileSystemWrapper::ReuseWritableFile(path, old, options, file, debug), file);
  }

  const SyncCount& syncs() const { return syncs_; }

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, SyncCount& syncs)
        : FSWritableFileOwnerWrapper(std::move(file)), syncs_(syncs) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
      return syncs_.Around([&] { return FSWritableFileOwnerWrapper::Sync(options, debug); });
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                            rocksdb::IODebugContext* debug) override {
      return syncs_.Around([&] { return FSWritableFileOwnerWrapper::Fsync(options, debug); });
    }

   private:
    SyncCount& syncs_;
  };

  rocksdb::IOStatus Wrap(rocksdb::IOStatus status, std::unique_ptr<rocksdb::FSWritableFile>* file) {
    if (status.ok()) *file = std::make_unique<File>(std::move(*file), syncs_);
    return status;
  }

  SyncCount syncs_;
};

}  // namespace sheaf::bench
