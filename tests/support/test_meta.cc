#include "tests/support/test_meta.h"

#include <utility>

#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

template <typename Response>
Result<proto::Attr> AttrOf(Result<Response> response) {
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_attr());
}

template <typename Request>
Request At(uint64_t parent, const std::string& name) {
  Request request;
  request.set_parent(parent);
  request.set_name(name);
  return request;
}

void SetReport(uint64_t epoch, uint64_t length, bool wrote, proto::LengthReport* report) {
  report->set_size_epoch(epoch);
  report->set_length(length);
  report->set_wrote(wrote);
}

}  // namespace

TestMeta::TestMeta(KvStore& store, ExecutorOptions options) {
  options.root_uid = options.root_gid = 0;
  Result<std::unique_ptr<Executor>> opened = Executor::Open(store, options);
  CHECK(opened.ok(), opened.status().ToString());
  executor_ = std::move(*opened);
  const Status prepared = Run([this](OpContext& ctx) -> Status {
    ASSIGN_OR_RETURN(const uint64_t number, ctx.Allocate(Sequence::kIncarnation));
    session_ = Incarnation(number);
    ctx.Put(SessionKey(session_), EncodeSession({.description = "test"}));
    ctx.Put(ClusterKey(ClusterRow::kCurrentTable), EncodeCounter(kTable));
    return Status::Ok();
  });
  CHECK(prepared.ok(), prepared.ToString());
}

void TestMeta::ActAs(uint32_t uid, uint32_t gid, std::vector<uint32_t> groups) {
  caller_.set_uid(uid);
  caller_.set_gid(gid);
  caller_.mutable_groups()->Assign(groups.begin(), groups.end());
}

proto::Context TestMeta::NextContext() {
  proto::Context context;
  *context.mutable_caller() = caller_;
  context.mutable_request()->set_incarnation(session_.value());
  context.mutable_request()->set_sequence(++sequence_);
  context.mutable_request()->set_lowest_outstanding(sequence_);
  return context;
}

Status TestMeta::Run(const std::function<Status(OpContext&)>& step) {
  return executor_
      ->Run(std::nullopt,
            [step](OpContext& ctx) -> Result<std::string> {
              RETURN_IF_ERROR(step(ctx));
              return std::string();
            })
      .status();
}

Result<proto::Attr> TestMeta::Lookup(uint64_t parent, const std::string& name) const {
  return AttrOf(Read(meta::Lookup, At<proto::LookupRequest>(parent, name)));
}

Result<proto::Attr> TestMeta::GetAttr(uint64_t inode) const {
  proto::GetAttrRequest request;
  request.set_inode(inode);
  return AttrOf(Read(meta::GetAttr, request));
}

Result<proto::Attr> TestMeta::SetAttr(uint64_t inode, proto::SetAttrRequest request) {
  request.set_inode(inode);
  return AttrOf(Mutate(meta::SetAttr, std::move(request)));
}

Result<proto::Attr> TestMeta::Chmod(uint64_t inode, uint32_t mode) {
  proto::SetAttrRequest request;
  request.set_mode(mode);
  return SetAttr(inode, request);
}

Result<proto::Attr> TestMeta::Chown(uint64_t inode, std::optional<uint32_t> uid,
                                    std::optional<uint32_t> gid) {
  proto::SetAttrRequest request;
  if (uid) request.set_uid(*uid);
  if (gid) request.set_gid(*gid);
  return SetAttr(inode, request);
}

Result<proto::CreateResponse> TestMeta::Create(uint64_t parent, const std::string& name,
                                               uint32_t mode, uint32_t flags, bool exclusive) {
  auto request = At<proto::CreateRequest>(parent, name);
  request.set_mode(mode);
  request.set_open_flags(flags);
  request.set_exclusive(exclusive);
  return Mutate(meta::Create, std::move(request));
}

Result<proto::Attr> TestMeta::Mkdir(uint64_t parent, const std::string& name, uint32_t mode) {
  auto request = At<proto::MkdirRequest>(parent, name);
  request.set_mode(mode);
  return AttrOf(Mutate(meta::Mkdir, std::move(request)));
}

Result<proto::Attr> TestMeta::Mknod(uint64_t parent, const std::string& name, uint32_t mode,
                                    uint64_t rdev) {
  auto request = At<proto::MknodRequest>(parent, name);
  request.set_mode(mode);
  request.set_rdev(rdev);
  return AttrOf(Mutate(meta::Mknod, std::move(request)));
}

Result<proto::Attr> TestMeta::Symlink(uint64_t parent, const std::string& name,
                                      const std::string& target) {
  auto request = At<proto::SymlinkRequest>(parent, name);
  request.set_target(target);
  return AttrOf(Mutate(meta::Symlink, std::move(request)));
}

Result<std::string> TestMeta::Readlink(uint64_t inode) const {
  proto::ReadlinkRequest request;
  request.set_inode(inode);
  ASSIGN_OR_RETURN(const auto answer, Read(meta::Readlink, request));
  return answer.target();
}

Result<proto::Attr> TestMeta::Link(uint64_t inode, uint64_t parent, const std::string& name) {
  auto request = At<proto::LinkRequest>(parent, name);
  request.set_inode(inode);
  return AttrOf(Mutate(meta::Link, std::move(request)));
}

Result<proto::UnlinkResponse> TestMeta::Unlink(uint64_t parent, const std::string& name) {
  return Mutate(meta::Unlink, At<proto::UnlinkRequest>(parent, name));
}

Result<proto::RmdirResponse> TestMeta::Rmdir(uint64_t parent, const std::string& name) {
  return Mutate(meta::Rmdir, At<proto::RmdirRequest>(parent, name));
}

Result<proto::RenameResponse> TestMeta::Rename(uint64_t parent, const std::string& name,
                                               uint64_t new_parent, const std::string& new_name,
                                               uint32_t flags) {
  auto request = At<proto::RenameRequest>(parent, name);
  request.set_new_parent(new_parent);
  request.set_new_name(new_name);
  request.set_flags(flags);
  return Mutate(meta::Rename, std::move(request));
}

Result<proto::Attr> TestMeta::Open(uint64_t inode, uint32_t flags) {
  proto::OpenRequest request;
  request.set_inode(inode);
  request.set_flags(flags);
  return AttrOf(Mutate(meta::Open, std::move(request)));
}

Result<proto::Attr> TestMeta::Close(uint64_t inode) {
  proto::CloseRequest request;
  request.set_inode(inode);
  return AttrOf(Mutate(meta::Close, std::move(request)));
}

Result<proto::Attr> TestMeta::Close(uint64_t inode, uint64_t epoch, uint64_t length, bool wrote) {
  proto::CloseRequest request;
  request.set_inode(inode);
  SetReport(epoch, length, wrote, request.mutable_report());
  return AttrOf(Mutate(meta::Close, std::move(request)));
}

Result<proto::Attr> TestMeta::Fsync(uint64_t inode, uint64_t epoch, uint64_t length, bool wrote) {
  proto::FsyncRequest request;
  request.set_inode(inode);
  SetReport(epoch, length, wrote, request.mutable_report());
  return AttrOf(Mutate(meta::Fsync, std::move(request)));
}

Result<proto::Attr> TestMeta::Truncate(uint64_t inode, uint64_t size, bool from_handle) {
  proto::TruncateRequest request;
  request.set_inode(inode);
  request.set_size(size);
  request.set_from_handle(from_handle);
  return AttrOf(Mutate(meta::Truncate, std::move(request)));
}

Result<uint64_t> TestMeta::ReserveAppend(uint64_t inode, uint64_t epoch, uint64_t known,
                                         uint64_t bytes) {
  proto::ReserveAppendRequest request;
  request.set_inode(inode);
  request.set_size_epoch(epoch);
  request.set_known_length(known);
  request.set_bytes(bytes);
  ASSIGN_OR_RETURN(const auto response, Mutate(meta::ReserveAppend, request));
  return response.offset();
}

Result<std::vector<proto::DirEntry>> TestMeta::List(uint64_t inode, uint32_t page,
                                                    bool plus) const {
  std::vector<proto::DirEntry> entries;
  proto::ReadDirRequest request;
  request.set_inode(inode);
  request.set_max_entries(page);
  request.set_plus(plus);
  for (bool end = false; !end;) {
    ASSIGN_OR_RETURN(const auto answer, Read(meta::ReadDir, request));
    for (const proto::DirEntry& entry : answer.entries()) {
      if (entry.cookie() >= kFirstCookie) entries.push_back(entry);
      request.set_cookie(entry.cookie());
    }
    end = answer.end();
  }
  return entries;
}

Status TestMeta::SetXattr(uint64_t inode, const std::string& name, const std::string& value,
                          uint32_t flags) {
  proto::SetXattrRequest request;
  request.set_inode(inode);
  request.set_name(name);
  request.set_value(value);
  request.set_flags(flags);
  return Mutate(meta::SetXattr, std::move(request)).status();
}

Result<std::string> TestMeta::GetXattr(uint64_t inode, const std::string& name) const {
  proto::GetXattrRequest request;
  request.set_inode(inode);
  request.set_name(name);
  ASSIGN_OR_RETURN(const auto answer, Read(meta::GetXattr, request));
  return answer.value();
}

Result<std::vector<std::string>> TestMeta::ListXattr(uint64_t inode) const {
  proto::ListXattrRequest request;
  request.set_inode(inode);
  ASSIGN_OR_RETURN(const auto answer, Read(meta::ListXattr, request));
  return std::vector<std::string>(answer.names().begin(), answer.names().end());
}

Status TestMeta::RemoveXattr(uint64_t inode, const std::string& name) {
  proto::RemoveXattrRequest request;
  request.set_inode(inode);
  request.set_name(name);
  return Mutate(meta::RemoveXattr, std::move(request)).status();
}

Result<std::vector<Removal>> TestMeta::Removals() const {
  std::vector<Removal> removals;
  Status bad;
  const KeyRange range = TableRange(Table::kRemoval);
  RETURN_IF_ERROR(executor_->Committed()->Scan(range.begin, range.end, 0,
                                               [&](std::string_view, std::string_view value) {
                                                 Result<Removal> removal = DecodeRemoval(value);
                                                 bad = removal.status();
                                                 if (removal.ok()) removals.push_back(*removal);
                                                 return removal.ok();
                                               }));
  RETURN_IF_ERROR(bad);
  return removals;
}

Usage TestMeta::TotalUsage() const {
  const auto row = executor_->Committed()->Get(UsageKey());
  CHECK(row.ok());
  return *row ? *DecodeUsage(**row) : Usage();
}

}  // namespace sheaf::meta
