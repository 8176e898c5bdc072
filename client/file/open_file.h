#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "client/file/file_ops.h"
#include "client/file/inode_state.h"
#include "client/file/read_ahead.h"
#include "client/sheaf.h"
#include "common/guarded.h"

namespace sheaf::client {

// One handle on a regular file.
//
// A handle open for writing is filed at the metadata service, so that the file's length can be
// settled should this client vanish. Flush ends that early, since mostly it is the last that
// happens to a handle; the next write files it again, and then it stays filed until Close. It is
// filed again, too, when the session has been replaced.
class OpenFile : public File {
 public:
  // `session`: under which it was opened.
  OpenFile(FileOps& ops, std::shared_ptr<InodeState> inode, const Credentials& who, int flags,
           Incarnation session, FileAttr opened);
  ~OpenFile() override;

  Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) override;
  Result<size_t> Write(uint64_t offset, std::span<const uint8_t> from) override;
  Result<uint64_t> Append(std::span<const uint8_t> from) override;
  void ReadAsync(uint64_t offset, std::span<uint8_t> into, IoDone done) override;
  void WriteAsync(uint64_t offset, std::span<const uint8_t> from, IoDone done) override;
  Status Sync() override;
  Status Flush() override;
  Status Truncate(uint64_t size) override;
  Result<FileAttr> Stat() override;
  FileAttr OpenedAttr() const override { return opened_; }
  Status Close() override;
  InodeId inode() const override { return inode_->inode(); }

  bool writable() const { return writable_; }
  // REQUIRES: nobody else has the handle yet.
  void SetOpenedAttr(const FileAttr& attr) { opened_ = attr; }

 private:
  // How the metadata service has this handle filed as a writer.
  struct Filed {
    Incarnation under;  // null: not at all
    size_t writing = 0;
    bool ended_early = false;
  };
  class Writing;

  Status CheckReadable() const;
  Status CheckWritable() const;
  // Failures to write back since this handle was opened or told last; each once.
  Status TellFailure();
  // Files the handle if it is not, and keeps it filed until EndWriting.
  Status BeginWriting();
  std::optional<Status> EndEarly();
  void EndWriting() { --filed_.Lock()->writing; }

  Result<size_t> WriteThrough(uint64_t offset, std::span<const uint8_t> from);
  Result<size_t> WriteBuffered(uint64_t offset, std::span<const uint8_t> from);
  // With the gate entered.
  Status PutIntoMemory(uint64_t offset, std::span<const uint8_t> from);
  Result<uint64_t> ReserveAppend(size_t size);
  Status AppendEntered(uint64_t offset, std::span<const uint8_t> from);
  bool GoesThrough(size_t size) const;

  FileOps& ops_;
  const std::shared_ptr<InodeState> inode_;
  const Credentials who_;
  const bool readable_;
  const bool writable_;
  const bool durable_;  // O_SYNC, O_DSYNC: the length, too, with every write
  const bool direct_;
  FileAttr opened_;
  std::atomic<uint64_t> told_;  // of the file's failures
  Guarded<Filed> filed_;        // held while it is filed; taken before any lock of the file
  ReadAhead read_ahead_;
  std::atomic<bool> closed_ = false;
};

}  // namespace sheaf::client
