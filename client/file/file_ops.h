#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "client/chunk/chunk_client.h"
#include "client/file/file_io.h"
#include "client/file/inode_state.h"
#include "client/file/inode_table.h"
#include "client/file/write_behind.h"
#include "client/meta/meta_client.h"
#include "client/sheaf.h"
#include "common/status.h"

namespace sheaf::client {

class OpenFile;

// What joins the metadata of a file with its data: opening, lengths, truncation, attributes.
// Thread-safe.
//
// 1. Times of written files are stamped before anything else is changed in the inode, so that no
//    later report undoes an explicit time; a settled length is reported before a truncate, so that
//    the service knows what to trim.
// 2. A truncation happens while no read or write of this client is under way on the file.
// 3. A length is reported after the bytes below it are on the chains: a flush comes first.
class FileOps {
 public:
  struct Options {
    std::chrono::milliseconds meta_timeout{30'000};
    std::chrono::milliseconds data_timeout{30'000};
    size_t write_behind_bytes = size_t{64} << 20;  // 0: every write goes to the chains at once
    std::chrono::milliseconds write_behind_delay{1000};
    size_t read_ahead_bytes = size_t{8} << 20;  // of one handle; 0: none
  };

  // `closed` is told of each inode whose last handle is gone.
  FileOps(const Options& options, MetaClient& meta, ChunkClient& chunks, WriterIdentity& identity,
          InodeTable& inodes, std::function<void(InodeId)> closed);

  Result<std::shared_ptr<File>> Open(const Credentials& who, InodeId inode, int flags);
  // Opens for reading what a look-up has just described, which has checked the right to. REQUIRES:
  // an InodeTable::Opening since before it was looked up.
  Result<std::shared_ptr<File>> OpenFound(const Credentials& who, const proto::Attr& attr,
                                          int flags);
  Result<Client::Created> Create(const Credentials& who, InodeId parent, std::string_view name,
                                 uint32_t mode, int flags);
  Result<FileAttr> SetAttr(const Credentials& who, InodeId inode, const AttrChange& change,
                           File* handle);
  Result<FileAttr> Truncate(const Credentials& who, InodeId inode, uint64_t size, bool from_handle);
  // An answer's attributes, as this client's open files know better.
  FileAttr Present(const proto::Attr& attr);

  // fsync: flushes what was written before, then reports length and times if they are not known.
  // Whatever fails of either is answered.
  Status Sync(const std::shared_ptr<InodeState>& inode);
  Status SyncAll();
  // If the file was written here since its times were stamped: stamps them, without waiting for
  // the bytes, and answers its attributes.
  Result<std::optional<FileAttr>> StampTimes(InodeId inode);

  // One handle's standing at the metadata service as a writer: under this session, or under none.
  // Files it, for whoever had the right to write when the handle was opened.
  Result<Incarnation> BeginWriteOpen(InodeId inode);
  // Ends the one filed under that session; a length to be reported goes with it.
  Status EndWriteOpen(const Credentials& who, InodeState& inode, Incarnation under);
  // The last of a handle, whatever the above answered.
  void ReleaseHandle(const std::shared_ptr<InodeState>& inode);

  MetaClient& meta() { return meta_; }
  WriteBehind& behind() { return behind_; }
  DataPath data() { return {chunks_, behind_, options_.data_timeout}; }
  Incarnation session() const { return identity_.incarnation(); }
  const std::shared_ptr<MemoryBudget>& read_ahead_memory() const { return read_ahead_; }
  const Options& options() const { return options_; }

 private:
  class Still;

  // Until what is answered is gone; reports what metadata does not know of the file yet.
  Result<std::unique_ptr<Still>> HoldStill(const std::shared_ptr<InodeState>& inode);
  // `session`: under which it was opened, if for writing.
  Result<std::shared_ptr<OpenFile>> OpenAnswered(const Credentials& who, const proto::Attr& attr,
                                                 int flags, Incarnation session);
  // Reports what is settled. REQUIRES: a flush came before, or the length need not be new.
  Status Report(const Credentials& who, InodeState& inode);
  // The attributes answered, if there was something to report.
  Result<std::optional<proto::Attr>> ReportLocked(const Credentials& who, InodeState& inode);

  // The longest that reads, writes and a truncation before ours may take.
  std::chrono::milliseconds GateTimeout() const {
    return options_.data_timeout + options_.meta_timeout;
  }

  const Options options_;
  MetaClient& meta_;
  ChunkClient& chunks_;
  WriterIdentity& identity_;
  InodeTable& inodes_;
  WriteBehind behind_;
  const std::shared_ptr<MemoryBudget> read_ahead_;  // of all handles
  const std::function<void(InodeId)> closed_;
};

}  // namespace sheaf::client
