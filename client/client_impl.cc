#include "client/client_impl.h"

#include <unistd.h>

#include <algorithm>

#include "client/file/attr.h"
#include "client/status_json.h"
#include "common/metrics.h"

namespace sheaf {

Credentials Credentials::OfProcess() {
  Credentials who{.uid = ::geteuid(), .gid = ::getegid()};
  std::vector<gid_t> groups(static_cast<size_t>(std::max(::getgroups(0, nullptr), 0)));
  const int count = ::getgroups(static_cast<int>(groups.size()), groups.data());
  for (int i = 0; i < count; ++i) who.groups.push_back(groups[static_cast<size_t>(i)]);
  return who;
}

Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  auto client = std::make_unique<client::ClientImpl>(options);
  RETURN_IF_ERROR(client->Start());
  return std::unique_ptr<Client>(std::move(client));
}

namespace client {
namespace {

// How long Connect waits for the metadata service to answer at all.
constexpr std::chrono::milliseconds kConnectTimeout{5000};
constexpr size_t kMaxName = 255;  // bytes

std::string DescribeProcess() {
  char host[256] = "unknown";
  (void)::gethostname(host, sizeof(host) - 1);
  return std::string(host) + " " + program_invocation_short_name + " " +
         std::to_string(::getpid());
}

// Names the kernel would refuse, so that every caller gets the errno POSIX names.
Status CheckName(std::string_view name) {
  if (name.empty()) return {Code::kNotFound, "name: empty"};
  if (name.size() > kMaxName) {
    return {Code::kNameTooLong, "name: " + std::to_string(name.size()) + " bytes, at most " +
                                    std::to_string(kMaxName)};
  }
  if (name.find('/') != name.npos || name.find('\0') != name.npos) {
    return {Code::kInvalid, "name: contains '/' or NUL"};
  }
  return Status::Ok();
}

}  // namespace

ClientImpl::ClientImpl(const ClientOptions& options) : options_(options) {}

Status ClientImpl::Start() {
  ASSIGN_OR_RETURN(const Address address, Address::Parse(options_.meta_address));
  (void)address;  // a wrong one is told before anything is tried
  cluster_ = std::make_unique<ClusterClient>(options_.meta_address);
  RETURN_IF_ERROR(cluster_->WaitConnected(std::min(options_.meta_timeout, kConnectTimeout)));
  const std::string who =
      options_.description.empty() ? DescribeProcess() : options_.description;
  ASSIGN_OR_RETURN(session_, Session::Open(*cluster_, who, inodes_));
  meta_ = std::make_unique<MetaClient>(options_.meta_address, options_.meta_timeout, *session_,
                                       options_.metrics);
  batcher_ = std::make_unique<Batcher>(*meta_, options_.meta_timeout);
  ASSIGN_OR_RETURN(router_,
                   Router::Create({.use_unix_sockets = options_.use_unix_sockets,
                                   .connections_per_server = options_.connections_per_server},
                                  [this](MapVersion known) { return cluster_->GetMap(known); }));
  chunks_ = std::make_unique<ChunkClient>(
      ChunkClient::Options{.timeout = options_.data_timeout, .metrics = options_.metrics}, *router_,
      *session_);
  files_ = std::make_unique<FileOps>(
      FileOps::Options{.meta_timeout = options_.meta_timeout,
                       .data_timeout = options_.data_timeout,
                       .write_behind_bytes = options_.write_behind_bytes,
                       .write_behind_delay = options_.write_behind_delay,
                       .read_ahead_bytes = options_.read_ahead_bytes},
      *meta_, *chunks_, *session_, inodes_, [this](InodeId inode) { session_->InodeClosed(inode); });
  if (options_.metrics != nullptr) AddMetrics(*options_.metrics);
  return Status::Ok();
}

void ClientImpl::AddMetrics(Metrics& metrics) {
  metrics.AddCallback("sheaf_client_open_inodes", "Regular files open", {},
                      [this] { return static_cast<double>(inodes_.size()); });
  metrics.AddCallback("sheaf_client_write_behind_bytes",
                      "Memory held by what was written and is not on the chains yet", {},
                      [this] { return static_cast<double>(files_->behind().memory()); });
  metrics.AddCallback("sheaf_client_map_version", "Cluster map in use", {},
                      [this] { return static_cast<double>(router_->version().value()); });
  metrics.AddCallback("sheaf_client_session_renewals_total", "Renewals of the session", {},
                      [this] { return static_cast<double>(session_->renewals()); });
  metrics.AddCallback("sheaf_client_session_renewal_errors_total",
                      "Renewals of the session that failed", {},
                      [this] { return static_cast<double>(session_->renewal_errors()); });
}

Result<FileAttr> ClientImpl::Lookup(const Credentials& who, InodeId parent,
                                    std::string_view name) {
  RETURN_IF_ERROR(CheckName(name));
  proto::LookupRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  ASSIGN_OR_RETURN(const auto answer, meta_->Lookup(who, std::move(request)));
  return files_->Present(answer.attr());
}

Result<FileAttr> ClientImpl::GetAttr(const Credentials& who, InodeId inode) {
  proto::GetAttrRequest request;
  request.set_inode(inode.value());
  ASSIGN_OR_RETURN(const auto answer, meta_->GetAttr(who, std::move(request)));
  return files_->Present(answer.attr());
}

Result<FileAttr> ClientImpl::SetAttr(const Credentials& who, InodeId inode,
                                     const AttrChange& change, File* handle) {
  return files_->SetAttr(who, inode, change, handle);
}

Result<FileAttr> ClientImpl::Mkdir(const Credentials& who, InodeId parent, std::string_view name,
                                   uint32_t mode) {
  RETURN_IF_ERROR(CheckName(name));
  proto::MkdirRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  request.set_mode(mode);
  ASSIGN_OR_RETURN(const auto answer, meta_->Mkdir(who, std::move(request)));
  return AttrFromProto(answer.attr());
}

Result<FileAttr> ClientImpl::Mknod(const Credentials& who, InodeId parent, std::string_view name,
                                   uint32_t mode, uint64_t rdev) {
  RETURN_IF_ERROR(CheckName(name));
  proto::MknodRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  request.set_mode(mode);
  request.set_rdev(rdev);
  ASSIGN_OR_RETURN(const auto answer, meta_->Mknod(who, std::move(request)));
  return AttrFromProto(answer.attr());
}

Result<FileAttr> ClientImpl::Symlink(const Credentials& who, InodeId parent,
                                     std::string_view name, std::string_view target) {
  RETURN_IF_ERROR(CheckName(name));
  proto::SymlinkRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  request.set_target(std::string(target));
  ASSIGN_OR_RETURN(const auto answer, meta_->Symlink(who, std::move(request)));
  return AttrFromProto(answer.attr());
}

Result<std::string> ClientImpl::Readlink(const Credentials& who, InodeId inode) {
  proto::ReadlinkRequest request;
  request.set_inode(inode.value());
  ASSIGN_OR_RETURN(auto answer, meta_->Readlink(who, std::move(request)));
  return std::move(*answer.mutable_target());
}

Result<FileAttr> ClientImpl::Link(const Credentials& who, InodeId inode, InodeId new_parent,
                                  std::string_view new_name) {
  RETURN_IF_ERROR(CheckName(new_name));
  proto::LinkRequest request;
  request.set_inode(inode.value());
  request.set_parent(new_parent.value());
  request.set_name(std::string(new_name));
  ASSIGN_OR_RETURN(const auto answer, meta_->Link(who, std::move(request)));
  return files_->Present(answer.attr());
}

Status ClientImpl::Unlink(const Credentials& who, InodeId parent, std::string_view name,
                          std::optional<FileAttr>* parent_after) {
  RETURN_IF_ERROR(CheckName(name));
  proto::UnlinkRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  request.set_tell_parent(parent_after != nullptr);
  ASSIGN_OR_RETURN(const auto answer, meta_->Unlink(who, std::move(request)));
  if (parent_after != nullptr && answer.has_parent()) *parent_after = AttrFromProto(answer.parent());
  return Status::Ok();
}

Status ClientImpl::Rmdir(const Credentials& who, InodeId parent, std::string_view name) {
  RETURN_IF_ERROR(CheckName(name));
  proto::RmdirRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  return meta_->Rmdir(who, std::move(request)).status();
}

Status ClientImpl::Rename(const Credentials& who, InodeId parent, std::string_view name,
                          InodeId new_parent, std::string_view new_name, uint32_t flags) {
  RETURN_IF_ERROR(CheckName(name));
  RETURN_IF_ERROR(CheckName(new_name));
  proto::RenameRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  request.set_new_parent(new_parent.value());
  request.set_new_name(std::string(new_name));
  request.set_flags(flags);
  return meta_->Rename(who, std::move(request)).status();
}

Result<std::shared_ptr<File>> ClientImpl::Open(const Credentials& who, InodeId inode, int flags) {
  return files_->Open(who, inode, flags);
}

Result<Client::Created> ClientImpl::Create(const Credentials& who, InodeId parent,
                                           std::string_view name, uint32_t mode, int flags) {
  RETURN_IF_ERROR(CheckName(name));
  return files_->Create(who, parent, name, mode, flags);
}

Result<DirectoryPage> ClientImpl::ReadDirectory(const Credentials& who, InodeId inode,
                                                uint64_t cookie, uint32_t max_entries,
                                                bool with_attributes) {
  proto::ReadDirRequest request;
  request.set_inode(inode.value());
  request.set_cookie(cookie);
  request.set_max_entries(max_entries);
  request.set_plus(with_attributes);
  ASSIGN_OR_RETURN(auto answer, meta_->ReadDir(who, std::move(request)));
  DirectoryPage page{.end = answer.end()};
  page.entries.reserve(static_cast<size_t>(answer.entries_size()));
  for (proto::DirEntry& entry : *answer.mutable_entries()) {
    DirectoryEntry out{.name = std::move(*entry.mutable_name()),
                       .inode = InodeId(entry.inode()),
                       .type = entry.type(),
                       .cookie = entry.cookie()};
    if (with_attributes && entry.has_attr()) out.attr = files_->Present(entry.attr());
    page.entries.push_back(std::move(out));
  }
  return page;
}

Result<FileSystemStats> ClientImpl::StatFs() {
  ASSIGN_OR_RETURN(const auto answer,
                   meta_->StatFs(Credentials::OfProcess(), proto::StatFsRequest()));
  return FileSystemStats{.total_bytes = answer.total_bytes(),
                         .free_bytes = answer.free_bytes(),
                         .files = answer.files(),
                         .max_files = answer.max_files()};
}

Status ClientImpl::SetXattr(const Credentials& who, InodeId inode, std::string_view name,
                            std::span<const uint8_t> value, int flags) {
  proto::SetXattrRequest request;
  request.set_inode(inode.value());
  request.set_name(std::string(name));
  request.set_value(value.data(), value.size());
  request.set_flags(static_cast<uint32_t>(flags));
  return meta_->SetXattr(who, std::move(request)).status();
}

Result<std::string> ClientImpl::GetXattr(const Credentials& who, InodeId inode,
                                         std::string_view name) {
  proto::GetXattrRequest request;
  request.set_inode(inode.value());
  request.set_name(std::string(name));
  ASSIGN_OR_RETURN(auto answer, meta_->GetXattr(who, std::move(request)));
  return std::move(*answer.mutable_value());
}

Result<std::vector<std::string>> ClientImpl::ListXattr(const Credentials& who, InodeId inode) {
  proto::ListXattrRequest request;
  request.set_inode(inode.value());
  ASSIGN_OR_RETURN(const auto answer, meta_->ListXattr(who, std::move(request)));
  return std::vector<std::string>(answer.names().begin(), answer.names().end());
}

Status ClientImpl::RemoveXattr(const Credentials& who, InodeId inode, std::string_view name) {
  proto::RemoveXattrRequest request;
  request.set_inode(inode.value());
  request.set_name(std::string(name));
  return meta_->RemoveXattr(who, std::move(request)).status();
}

Result<std::optional<FileAttr>> ClientImpl::StampTimes(InodeId inode) {
  return files_->StampTimes(inode);
}

Status ClientImpl::SyncAll() { return files_->SyncAll(); }

Result<std::string> ClientImpl::StatusJson() {
  ASSIGN_OR_RETURN(const proto::ClusterStatus status, cluster_->GetStatus(options_.meta_timeout));
  return FormatStatus(status, BootId());
}

}  // namespace client
}  // namespace sheaf
