#pragma once

#include <memory>
#include <string>

#include "client/chunk/chunk_client.h"
#include "client/file/file_ops.h"
#include "client/file/inode_table.h"
#include "client/meta/batcher.h"
#include "client/meta/cluster_client.h"
#include "client/meta/meta_client.h"
#include "client/meta/session.h"
#include "client/path_walk.h"
#include "client/routing/router.h"
#include "client/sheaf.h"

namespace sheaf::client {

// Client over the parts: metadata calls go to MetaClient, what touches data to FileOps.
// Teardown is the members' order, reversed: files, chunk operations, map, session.
class ClientImpl : public Client, private PathCalls {
 public:
  explicit ClientImpl(const ClientOptions& options);
  Status Start();

  Result<FileAttr> Lookup(const Credentials& who, InodeId parent, std::string_view name) override;
  Result<FileAttr> GetAttr(const Credentials& who, InodeId inode) override;
  Result<FileAttr> SetAttr(const Credentials& who, InodeId inode, const AttrChange& change,
                           File* handle) override;
  Result<FileAttr> Mkdir(const Credentials& who, InodeId parent, std::string_view name,
                         uint32_t mode) override;
  Result<FileAttr> Mknod(const Credentials& who, InodeId parent, std::string_view name,
                         uint32_t mode, uint64_t rdev) override;
  Result<FileAttr> Symlink(const Credentials& who, InodeId parent, std::string_view name,
                           std::string_view target) override;
  Result<std::string> Readlink(const Credentials& who, InodeId inode) override;
  Result<FileAttr> Link(const Credentials& who, InodeId inode, InodeId new_parent,
                        std::string_view new_name) override;
  Status Unlink(const Credentials& who, InodeId parent, std::string_view name,
                std::optional<FileAttr>* parent_after = nullptr) override;
  Status Rmdir(const Credentials& who, InodeId parent, std::string_view name) override;
  Status Rename(const Credentials& who, InodeId parent, std::string_view name, InodeId new_parent,
                std::string_view new_name, uint32_t flags) override;
  Result<std::shared_ptr<File>> Open(const Credentials& who, InodeId inode, int flags) override;
  Result<Created> Create(const Credentials& who, InodeId parent, std::string_view name,
                         uint32_t mode, int flags) override;
  Result<DirectoryPage> ReadDirectory(const Credentials& who, InodeId inode, uint64_t cookie,
                                      uint32_t max_entries, bool with_attributes) override;
  Result<FileSystemStats> StatFs() override;
  Status SetXattr(const Credentials& who, InodeId inode, std::string_view name,
                  std::span<const uint8_t> value, int flags) override;
  Result<std::string> GetXattr(const Credentials& who, InodeId inode,
                               std::string_view name) override;
  Result<std::vector<std::string>> ListXattr(const Credentials& who, InodeId inode) override;
  Status RemoveXattr(const Credentials& who, InodeId inode, std::string_view name) override;
  Result<std::optional<FileAttr>> StampTimes(InodeId inode) override;
  Status SyncAll() override;

  Result<FileAttr> StatPath(std::string_view path, bool follow) override;
  Result<std::shared_ptr<File>> OpenPath(std::string_view path, int flags,
                                         uint32_t mode) override;
  Result<FileAttr> MkdirPath(std::string_view path, uint32_t mode) override;
  Status UnlinkPath(std::string_view path) override;
  Status RmdirPath(std::string_view path) override;
  Status RenamePath(std::string_view from, std::string_view to) override;
  Result<Location> Locate(std::string_view path) override;
  Result<std::string> StatusJson() override;

  std::vector<Result<FileAttr>> LookupMany(const Credentials& who,
                                           std::span<const Entry> entries) override;
  std::vector<Result<FileAttr>> StatPaths(std::span<const std::string> paths, bool follow) override;
  std::vector<Result<FileAttr>> CreateMany(const Credentials& who,
                                           std::span<const NewEntry> entries) override;
  std::vector<Result<FileAttr>> MkdirMany(const Credentials& who,
                                          std::span<const NewEntry> entries) override;
  std::vector<Status> UnlinkMany(const Credentials& who, std::span<const Entry> entries) override;
  std::vector<Result<FileAttr>> SetAttrMany(const Credentials& who,
                                            std::span<const InodeChange> changes) override;
  std::vector<Status> WriteFiles(const Credentials& who, std::span<const WholeFile> files) override;

 private:
  void AddMetrics(Metrics& metrics);
  Result<proto::LookupPathResponse> LookupPath(const Credentials& who,
                                               proto::LookupPathRequest request) override;
  Result<std::shared_ptr<File>> OpenOrCreate(const Credentials& who, std::string_view path,
                                             int flags, uint32_t mode);
  std::vector<Result<FileAttr>> Attributes(const Credentials& who,
                                           std::vector<proto::BatchOperation> operations);

  const ClientOptions options_;
  InodeTable inodes_;
  std::unique_ptr<ClusterClient> cluster_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<MetaClient> meta_;
  std::unique_ptr<Batcher> batcher_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<ChunkClient> chunks_;
  std::unique_ptr<FileOps> files_;
};

}  // namespace sheaf::client
