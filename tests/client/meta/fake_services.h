#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <set>

#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/meta.grpc.pb.h"

namespace sheaf::client {

// Sessions and removals as a manager would keep them, in memory.
class FakeCluster : public proto::Cluster::Service {
 public:
  grpc::Status OpenSession(grpc::ServerContext*, const proto::OpenSessionRequest*,
                           proto::OpenSessionResponse* response) override {
    const std::lock_guard lock(mutex);
    response->set_incarnation(++last_incarnation);
    response->set_renew_ms(renew_ms);
    response->set_lease_ms(20 * renew_ms);
    response->set_removal_epoch(0);
    *response->mutable_frames() = frames;
    alive.insert(last_incarnation);
    return grpc::Status::OK;
  }
  grpc::Status RenewSession(grpc::ServerContext*, const proto::RenewSessionRequest* request,
                            proto::RenewSessionResponse* response) override {
    const std::lock_guard lock(mutex);
    renewals.push_back(*request);
    changed.notify_all();
    if (!alive.contains(request->incarnation())) {
      return ToGrpc(Status(Code::kNoSession, "unknown"));
    }
    response->set_removal_epoch(removal_epoch);
    if (request->acked_removal_epoch() < removal_epoch) {
      for (uint64_t inode : removed) response->add_removed_inodes(inode);
      for (const auto& [inode, data_id] : replaced) {
        auto* data = response->add_replaced();
        data->set_inode(inode);
        data->set_data_id(data_id);
      }
    }
    return grpc::Status::OK;
  }
  grpc::Status CloseSession(grpc::ServerContext*, const proto::CloseSessionRequest* request,
                            proto::CloseSessionResponse*) override {
    const std::lock_guard lock(mutex);
    alive.erase(request->incarnation());
    closed.insert(request->incarnation());
    return grpc::Status::OK;
  }

  // The first renewal for which `wanted` holds; the test's own time limit bounds the wait.
  template <typename Predicate>
  proto::RenewSessionRequest WaitRenewal(Predicate wanted) {
    std::unique_lock lock(mutex);
    for (;;) {
      while (!renewals.empty()) {
        const auto renewal = renewals.front();
        renewals.pop_front();
        if (wanted(renewal)) return renewal;
      }
      changed.wait(lock);
    }
  }

  std::mutex mutex;
  std::condition_variable changed;
  uint32_t renew_ms = 50;
  proto::MetaFrames frames;
  uint64_t last_incarnation = 0;
  std::set<uint64_t> alive;
  std::set<uint64_t> closed;
  uint64_t removal_epoch = 0;
  std::set<uint64_t> removed;
  std::set<std::pair<uint64_t, uint64_t>> replaced;  // inode, old data_id
  std::deque<proto::RenewSessionRequest> renewals;
};

// Files by inode, enough for opening, lengths and truncation; errors queued by the test.
class FakeMeta : public proto::Meta::Service {
 public:
  void FailNext(Code code) {
    const std::lock_guard lock(mutex);
    faults.push_back(code);
  }

  grpc::Status Mkdir(grpc::ServerContext*, const proto::MkdirRequest* request,
                     proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    ids.push_back(request->ctx().request());
    if (Code code = TakeFault(); code != Code::kOk) return ToGrpc(Status(code, "told to fail"));
    response->mutable_attr()->set_inode(77);
    response->mutable_attr()->set_mode(S_IFDIR | 0755);
    return grpc::Status::OK;
  }
  grpc::Status GetAttr(grpc::ServerContext*, const proto::GetAttrRequest*,
                       proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    if (Code code = TakeFault(); code != Code::kOk) return ToGrpc(Status(code, "told to fail"));
    *response->mutable_attr() = file;
    return grpc::Status::OK;
  }
  grpc::Status SetAttr(grpc::ServerContext*, const proto::SetAttrRequest* request,
                       proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    calls.push_back("setattr");
    ids.push_back(request->ctx().request());
    if (Code code = TakeFault(); code != Code::kOk) return ToGrpc(Status(code, "told to fail"));
    if (request->has_mtime_ns()) file.set_mtime_ns(request->mtime_ns());
    return Answer(response);
  }
  grpc::Status Open(grpc::ServerContext*, const proto::OpenRequest* request,
                    proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    calls.push_back("open");
    if ((request->flags() & 01000) != 0) Cut(0);  // O_TRUNC
    return Answer(response);
  }
  grpc::Status Close(grpc::ServerContext*, const proto::CloseRequest* request,
                     proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    calls.push_back(request->has_report() ? "close+report" : "close");
    ids.push_back(request->ctx().request());
    if (Code code = TakeFault(); code != Code::kOk) return ToGrpc(Status(code, "told to fail"));
    if (request->has_report()) Apply(request->report());
    return Answer(response);
  }
  grpc::Status Fsync(grpc::ServerContext*, const proto::FsyncRequest* request,
                     proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    calls.push_back("fsync");
    if (Code code = TakeFault(); code != Code::kOk) return ToGrpc(Status(code, "told to fail"));
    Apply(request->report());
    return Answer(response);
  }
  grpc::Status Truncate(grpc::ServerContext*, const proto::TruncateRequest* request,
                        proto::AttrResponse* response) override {
    const std::lock_guard lock(mutex);
    calls.push_back("truncate");
    Cut(request->size());
    return Answer(response);
  }

  grpc::Status ReserveAppend(grpc::ServerContext*, const proto::ReserveAppendRequest* request,
                             proto::ReserveAppendResponse* response) override {
    const std::lock_guard lock(mutex);
    calls.push_back("reserve");
    if (Code code = TakeFault(); code != Code::kOk) return ToGrpc(Status(code, "told to fail"));
    uint64_t offset = std::max<uint64_t>(file.size(), reserved);
    if (request->size_epoch() == file.size_epoch()) {
      offset = std::max<uint64_t>(offset, request->known_length());
    }
    reserved = offset + request->bytes();
    response->set_offset(offset);
    *response->mutable_attr() = file;
    return grpc::Status::OK;
  }

  std::mutex mutex;
  proto::Attr file;
  uint64_t reserved = 0;  // end of the last reservation of this size epoch
  // Called, when set, before a report takes effect.
  std::function<void(const proto::LengthReport&)> on_report;
  std::function<void(uint64_t size)> on_cut;  // of the bytes that `file` names before it
  std::vector<std::string> calls;
  std::vector<proto::RequestId> ids;
  std::deque<Code> faults;

 private:
  Code TakeFault() {
    if (faults.empty()) return Code::kOk;
    const Code code = faults.front();
    faults.pop_front();
    return code;
  }
  void Cut(uint64_t size) {
    reserved = 0;
    if (on_cut) on_cut(size);
    file.set_size(size);
    file.set_size_epoch(file.size_epoch() + 1);
    if (size == 0) file.set_data_id(file.data_id() + 1);
  }
  void Apply(const proto::LengthReport& report) {
    if (on_report) on_report(report);
    if (report.size_epoch() == file.size_epoch() && report.length() > file.size()) {
      file.set_size(report.length());
    }
    if (report.wrote()) file.set_mtime_ns(++stamps);
  }
  grpc::Status Answer(proto::AttrResponse* response) {
    file.set_version(file.version() + 1);
    *response->mutable_attr() = file;
    return grpc::Status::OK;
  }
  int64_t stamps = 1000;
};

// Both services on one port of this machine.
struct FakeServices {
  FakeServices() {
    auto started = RpcServer::Start(
        {.listen = "127.0.0.1:0", .services = {&cluster, &meta}, .grace = {}});
    CHECK(started.ok(), started.status().ToString());
    server = std::move(*started);
  }
  FakeCluster cluster;
  FakeMeta meta;
  std::unique_ptr<RpcServer> server;
};

}  // namespace sheaf::client
