#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "client/chunk/chunk_client.h"
#include "client/file/inode_state.h"
#include "client/file/inode_table.h"
#include "client/meta/meta_client.h"
#include "client/sheaf.h"
#include "common/status.h"

namespace sheaf::client {

// What joins the metadata of a file with its data: opening, lengths, truncation, attributes.
// Thread-safe.
//
// 1. A dirty length is reported before anything else is changed in the inode: so that neither a
//    later report undoes an explicit time, nor a truncate is undone by an older length.
// 2. A truncation happens while no read or write of this client is under way on the file.
class FileOps {
 public:
  struct Options {
    std::chrono::milliseconds meta_timeout{30'000};
    std::chrono::milliseconds data_timeout{30'000};
  };

  // `closed` is told of each inode whose last handle is gone.
  FileOps(const Options& options, MetaClient& meta, ChunkClient& chunks, InodeTable& inodes,
          std::function<void(InodeId)> closed);

  Result<std::shared_ptr<File>> Open(const Credentials& who, InodeId inode, int flags);
  // Opens for reading what a look-up has just described, which has checked the right to. REQUIRES:
  // an InodeTable::Opening since before it was looked up.
  Result<std::shared_ptr<File>> OpenFound(const Credentials& who, const proto::Attr& attr,
                                          int flags);
  Result<Client::Created> Create(const Credentials& who, InodeId parent, std::string_view name,
                                 uint32_t mode, int flags);
  Result<FileAttr> SetAttr(const Credentials& who, InodeId inode, const AttrChange& change,
                           File* handle);
  Result<FileAttr> Truncate(const Credentials& who, InodeId inode, uint64_t size,
                            bool from_handle);
  // An answer's attributes, as this client's open files know better.
  FileAttr Present(const proto::Attr& attr);

  // Settles the length at the metadata service if something was written.
  Status Report(const Credentials& who, InodeState& inode);
  Status ReportAll();
  // Ends one handle; a writer's last length goes with it.
  Status CloseHandle(const Credentials& who, const std::shared_ptr<InodeState>& inode,
                     bool writable);

  MetaClient& meta() { return meta_; }
  ChunkClient& chunks() { return chunks_; }
  const Options& options() const { return options_; }

 private:
  Result<std::shared_ptr<File>> OpenAnswered(const Credentials& who, const proto::Attr& attr,
                                             int flags);
  // The longest that reads, writes and a truncation before ours may take.
  std::chrono::milliseconds GateTimeout() const {
    return options_.data_timeout + options_.meta_timeout;
  }

  const Options options_;
  MetaClient& meta_;
  ChunkClient& chunks_;
  InodeTable& inodes_;
  const std::function<void(InodeId)> closed_;
};

}  // namespace sheaf::client
