#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "meta/kv/kv_store.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "proto/meta.pb.h"

namespace sheaf::meta {

// The namespace operations over an executor, as one client session calls them. Not thread-safe.
class TestMeta {
 public:
  static constexpr uint32_t kTable = 3;  // the current chain table's version

  // Opens a session and, unless there is one, a chain table. The root is the superuser's, 0755.
  explicit TestMeta(KvStore& store, ExecutorOptions options = {});

  // Who acts from now on. At first the superuser.
  void ActAs(uint32_t uid, uint32_t gid, std::vector<uint32_t> groups = {});

  // Fills in caller and request id, runs the mutation on the executor and parses its answer.
  template <typename Request, typename Response>
  Result<Response> Mutate(Result<Response> (*operation)(OpContext&, const Request&),
                          Request request) {
    *request.mutable_ctx() = NextContext();
    Result<RequestId> id = RequestIdOf(request.ctx());
    ASSIGN_OR_RETURN(const std::string bytes, executor_->Run(*id, Bind(operation, request)));
    Response response;
    CHECK(response.ParseFromString(bytes));
    return response;
  }
  template <typename Request, typename Response>
  Result<Response> Read(Result<Response> (*operation)(const ReadView&, const Request&),
                        Request request) const {
    *request.mutable_ctx()->mutable_caller() = caller_;
    return operation(*executor_->Committed(), request);
  }
  // The service's own steps.
  Status Run(const std::function<Status(OpContext&)>& step);

  Result<proto::Attr> Lookup(uint64_t parent, const std::string& name) const;
  Result<proto::Attr> GetAttr(uint64_t inode) const;
  Result<proto::Attr> SetAttr(uint64_t inode, proto::SetAttrRequest request);
  Result<proto::Attr> Chmod(uint64_t inode, uint32_t mode);
  Result<proto::Attr> Chown(uint64_t inode, std::optional<uint32_t> uid,
                            std::optional<uint32_t> gid);
  Result<proto::CreateResponse> Create(uint64_t parent, const std::string& name,
                                       uint32_t mode = 0644, uint32_t flags = 0,
                                       bool exclusive = true);
  Result<proto::Attr> Mkdir(uint64_t parent, const std::string& name, uint32_t mode = 0755);
  Result<proto::Attr> Mknod(uint64_t parent, const std::string& name, uint32_t mode,
                            uint64_t rdev = 0);
  Result<proto::Attr> Symlink(uint64_t parent, const std::string& name, const std::string& target);
  Result<std::string> Readlink(uint64_t inode) const;
  Result<proto::Attr> Link(uint64_t inode, uint64_t parent, const std::string& name);
  Result<proto::UnlinkResponse> Unlink(uint64_t parent, const std::string& name);
  Result<proto::RmdirResponse> Rmdir(uint64_t parent, const std::string& name);
  Result<proto::RenameResponse> Rename(uint64_t parent, const std::string& name,
                                       uint64_t new_parent, const std::string& new_name,
                                       uint32_t flags = 0);
  Result<proto::Attr> Open(uint64_t inode, uint32_t flags);
  Result<proto::Attr> Close(uint64_t inode);
  Result<proto::Attr> Close(uint64_t inode, uint64_t epoch, uint64_t length, bool wrote = true);
  Result<proto::Attr> Fsync(uint64_t inode, uint64_t epoch, uint64_t length, bool wrote = true);
  Result<proto::Attr> Truncate(uint64_t inode, uint64_t size, bool from_handle = false);
  // Where the range is.
  Result<uint64_t> ReserveAppend(uint64_t inode, uint64_t epoch, uint64_t known, uint64_t bytes);
  // Every entry but "." and "..", a page of `page` at a time.
  Result<std::vector<proto::DirEntry>> List(uint64_t inode, uint32_t page = 0,
                                            bool plus = false) const;
  Status SetXattr(uint64_t inode, const std::string& name, const std::string& value,
                  uint32_t flags = 0);
  Result<std::string> GetXattr(uint64_t inode, const std::string& name) const;
  Result<std::vector<std::string>> ListXattr(uint64_t inode) const;
  Status RemoveXattr(uint64_t inode, const std::string& name);

  Result<std::vector<Removal>> Removals() const;
  Usage TotalUsage() const;

  Executor& executor() { return *executor_; }
  Incarnation session() const { return session_; }
  proto::Context NextContext();

 private:
  std::unique_ptr<Executor> executor_;
  Incarnation session_;
  uint64_t sequence_ = 0;
  proto::Caller caller_;
};

}  // namespace sheaf::meta
