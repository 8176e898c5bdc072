#pragma once

#include <atomic>
#include <memory>

#include "client/file/file_ops.h"
#include "client/file/inode_state.h"
#include "client/sheaf.h"

namespace sheaf::client {

// One handle on a regular file.
class OpenFile : public File {
 public:
  OpenFile(FileOps& ops, std::shared_ptr<InodeState> inode, const Credentials& who, int flags);
  ~OpenFile() override;

  Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) override;
  Result<size_t> Write(uint64_t offset, std::span<const uint8_t> from) override;
  Result<uint64_t> Append(std::span<const uint8_t> from) override;
  void ReadAsync(uint64_t offset, std::span<uint8_t> into, IoDone done) override;
  void WriteAsync(uint64_t offset, std::span<const uint8_t> from, IoDone done) override;
  Status Sync() override;
  Status Truncate(uint64_t size) override;
  Result<FileAttr> Stat() override;
  Status Close() override;
  InodeId inode() const override { return inode_->inode(); }

  bool writable() const { return writable_; }

 private:
  Status CheckReadable() const;
  Status CheckWritable() const;

  FileOps& ops_;
  const std::shared_ptr<InodeState> inode_;
  const Credentials who_;
  const bool readable_;
  const bool writable_;
  std::atomic<bool> closed_ = false;
};

}  // namespace sheaf::client
