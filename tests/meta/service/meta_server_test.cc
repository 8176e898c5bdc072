#include "meta/service/meta_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>

#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/data.pb.h"
#include "proto/meta.grpc.pb.h"
#include "tests/support/eventually.h"
#include "tests/support/frame_server.h"
#include "tests/support/temp_dir.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::Eventually;
using sheaf::testing::FrameServer;
using sheaf::testing::TempDir;

// A whole sheaf-meta in this process, called over gRPC as any client would.
class MetaServerTest : public ::testing::Test {
 protected:
  MetaServerTest() {
    options_.data_dir = dir_ / "meta";
    options_.listen = "127.0.0.1:0";
    options_.metrics = "";
    options_.reclaim_interval = std::chrono::milliseconds(10);
    // Neither the session nor the storage server is kept alive here: they outlive any test.
    options_.lease = options_.session_lease = std::chrono::hours(1);
    Start();
    OpenSession();
  }

  void Start() {
    auto server = MetaServer::Start(options_);
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
    Connect();
  }
  void Connect() {
    auto channel = MakeChannel(server_->address());
    meta_ = proto::Meta::NewStub(channel);
    cluster_ = proto::Cluster::NewStub(channel);
  }
  void Restart() {
    server_.reset();
    Start();
  }

  template <typename Stub, typename Request, typename Response>
  Status Call(Stub& stub,
              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return FromGrpc((stub.*method)(&context, request, response));
  }
  template <typename Request, typename Response>
  Status Meta(grpc::Status (proto::Meta::Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*),
              Request request, Response* response) {
    if (!request.has_ctx()) *request.mutable_ctx() = NextContext();
    return Call(*meta_, method, request, response);
  }
  template <typename Request, typename Response>
  Status Cluster(grpc::Status (proto::Cluster::Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Response*),
                 const Request& request, Response* response) {
    return Call(*cluster_, method, request, response);
  }

  void OpenSession() {
    proto::OpenSessionResponse opened;
    Status status =
        Cluster(&proto::Cluster::Stub::OpenSession, proto::OpenSessionRequest(), &opened);
    CHECK(status.ok(), status.ToString());
    session_ = opened.incarnation();
    sequence_ = 0;
  }
  proto::Context NextContext() {
    proto::Context context;
    context.mutable_request()->set_incarnation(session_);
    context.mutable_request()->set_sequence(++sequence_);
    context.mutable_request()->set_lowest_outstanding(sequence_);
    return context;
  }

  // A storage server that removes whatever it is asked to.
  void StartStorage() {
    auto script = [this](const std::shared_ptr<FrameServer::Peer>& peer,
                         const FrameServer::Request& request) {
      proto::RemoveChunksRequest remove;
      if (request.header.method == transport::Method::kRemove) {
        remove.ParseFromString(request.message);
        std::lock_guard lock(mutex_);
        removed_.insert(remove.data_id());
      }
      peer->Respond(request.header.request_id, "");
    };
    auto storage = FrameServer::Start(script);
    CHECK(storage.ok(), storage.status().ToString());
    storage_ = std::move(*storage);
    proto::RegisterNodeRequest request;
    request.set_uuid("node-uuid");
    request.mutable_addresses()->set_framed(storage_->address().ToString());
    proto::TargetReport* target = request.add_targets();
    target->set_uuid("disk-uuid");
    target->set_state(proto::UP_TO_DATE);
    target->set_used_bytes(1000);
    target->set_total_bytes(50'000);
    proto::RegisterNodeResponse registered;
    Status status = Cluster(&proto::Cluster::Stub::RegisterNode, request, &registered);
    CHECK(status.ok(), status.ToString());
    EXPECT_EQ(registered.cluster_uuid(), server_->cluster_uuid());
    proto::CreateChainsRequest chains;
    chains.set_replicas(1);
    proto::CreateChainsResponse created;
    status = Cluster(&proto::Cluster::Stub::CreateChains, chains, &created);
    CHECK(status.ok(), status.ToString());
    EXPECT_EQ(created.chains(), 8u);
  }

  Result<proto::Attr> Create(const std::string& name) {
    proto::CreateRequest request;
    request.set_parent(1);
    request.set_name(name);
    request.set_mode(0644);
    request.set_exclusive(true);
    proto::CreateResponse response;
    RETURN_IF_ERROR(Meta(&proto::Meta::Stub::Create, request, &response));
    return response.attr();
  }
  Result<proto::Attr> Lookup(const std::string& name) {
    proto::LookupRequest request;
    request.set_parent(1);
    request.set_name(name);
    proto::AttrResponse response;
    RETURN_IF_ERROR(Meta(&proto::Meta::Stub::Lookup, request, &response));
    return response.attr();
  }
  proto::ClusterStatus GetStatus() {
    proto::ClusterStatus status;
    EXPECT_TRUE(Cluster(&proto::Cluster::Stub::GetStatus, proto::GetStatusRequest(), &status).ok());
    return status;
  }

  TempDir dir_;
  MetaServerOptions options_;
  std::mutex mutex_;
  std::set<uint64_t> removed_;  // data_ids
  std::unique_ptr<FrameServer> storage_;
  std::unique_ptr<MetaServer> server_;
  std::unique_ptr<proto::Meta::Stub> meta_;
  std::unique_ptr<proto::Cluster::Stub> cluster_;
  uint64_t session_ = 0;
  uint64_t sequence_ = 0;
};

TEST_F(MetaServerTest, ServesTheRootAtOnce) {
  proto::GetAttrRequest request;
  request.set_inode(1);
  proto::AttrResponse response;
  ASSERT_TRUE(Meta(&proto::Meta::Stub::GetAttr, request, &response).ok());
  EXPECT_EQ(response.attr().mode(), static_cast<uint32_t>(S_IFDIR | 0755));
}

TEST_F(MetaServerTest, CreatesAndLooksUp) {
  StartStorage();
  auto created = Create("file");
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  auto found = Lookup("file");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->inode(), created->inode());
  EXPECT_EQ(found->layout().table_version(), 1u);
  EXPECT_EQ(Create("file").status().code(), Code::kExists);
  EXPECT_EQ(Lookup("other").status().code(), Code::kNotFound);
}

TEST_F(MetaServerTest, ListsADirectoryInPages) {
  StartStorage();
  std::set<std::string> names;
  for (int i = 0; i < 25; ++i) {
    names.insert("file" + std::to_string(i));
    ASSERT_TRUE(Create("file" + std::to_string(i)).ok());
  }
  proto::ReadDirRequest request;
  request.set_inode(1);
  request.set_max_entries(7);
  request.set_plus(true);
  int pages = 0;
  for (bool end = false; !end; ++pages) {
    proto::ReadDirResponse response;
    ASSERT_TRUE(Meta(&proto::Meta::Stub::ReadDir, request, &response).ok());
    for (const proto::DirEntry& entry : response.entries()) {
      names.erase(entry.name());
      request.set_cookie(entry.cookie());
      EXPECT_TRUE(entry.has_attr());
    }
    end = response.end();
  }
  EXPECT_TRUE(names.empty());
  EXPECT_GE(pages, 4);
}

TEST_F(MetaServerTest, Renames) {
  StartStorage();
  const uint64_t inode = Create("old")->inode();
  proto::RenameRequest request;
  request.set_parent(1);
  request.set_name("old");
  request.set_new_parent(1);
  request.set_new_name("new");
  proto::RenameResponse response;
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Rename, request, &response).ok());
  EXPECT_EQ(response.inode(), inode);
  EXPECT_EQ(Lookup("new")->inode(), inode);
  EXPECT_EQ(Lookup("old").status().code(), Code::kNotFound);
}

TEST_F(MetaServerTest, ARetryIsAnsweredWithTheFirstResult) {
  StartStorage();
  proto::CreateRequest request;
  *request.mutable_ctx() = NextContext();
  request.set_parent(1);
  request.set_name("once");
  request.set_exclusive(true);
  proto::CreateResponse first, again;
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Create, request, &first).ok());
  // As if the reply had been lost.
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Create, request, &again).ok());
  EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
  Restart();
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Create, request, &again).ok());
  EXPECT_EQ(again.attr().inode(), first.attr().inode());
}

TEST_F(MetaServerTest, MutationsNeedALiveSession) {
  StartStorage();
  proto::MkdirRequest request;
  request.set_parent(1);
  request.set_name("dir");
  request.mutable_ctx();
  proto::AttrResponse response;
  EXPECT_EQ(Meta(&proto::Meta::Stub::Mkdir, request, &response).code(), Code::kNoSession);
  proto::CloseSessionRequest close;
  close.set_incarnation(session_);
  proto::CloseSessionResponse closed;
  ASSERT_TRUE(Cluster(&proto::Cluster::Stub::CloseSession, close, &closed).ok());
  EXPECT_EQ(Create("late").status().code(), Code::kNoSession);
}

TEST_F(MetaServerTest, ARestartKeepsEverything) {
  StartStorage();
  const uint64_t inode = Create("file")->inode();
  const proto::ClusterStatus before = GetStatus();
  const std::string uuid = server_->cluster_uuid();
  Restart();
  EXPECT_EQ(server_->cluster_uuid(), uuid);
  EXPECT_EQ(Lookup("file")->inode(), inode);
  EXPECT_TRUE(Create("more").ok()) << "the session goes on";
  const proto::ClusterStatus after = GetStatus();
  // The service's own session of before may be fenced by now, which is a change of the map.
  EXPECT_GE(after.map().version(), before.map().version());
  EXPECT_EQ(after.map().nodes_size(), before.map().nodes_size());
  EXPECT_EQ(after.map().chains_size(), 8);
}

TEST_F(MetaServerTest, ReclaimsWhatWasUnlinkedOnceSessionsAcknowledge) {
  StartStorage();
  const proto::Attr attr = *Create("file");
  proto::UnlinkRequest unlink;
  unlink.set_parent(1);
  unlink.set_name("file");
  proto::UnlinkResponse unlinked;
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Unlink, unlink, &unlinked).ok());
  EXPECT_EQ(unlinked.nlink(), 0u);
  EXPECT_EQ(GetStatus().removal_backlog(), 1u);
  proto::RenewSessionRequest renew;
  renew.set_incarnation(session_);
  proto::RenewSessionResponse renewed;
  ASSERT_TRUE(Cluster(&proto::Cluster::Stub::RenewSession, renew, &renewed).ok());
  ASSERT_EQ(renewed.removed_inodes_size(), 1);
  EXPECT_EQ(renewed.removed_inodes(0), attr.inode());
  renew.set_acked_removal_epoch(renewed.removal_epoch());
  ASSERT_TRUE(Cluster(&proto::Cluster::Stub::RenewSession, renew, &renewed).ok());
  EXPECT_TRUE(Eventually([&] { return GetStatus().removal_backlog() == 0; }));
  std::lock_guard lock(mutex_);
  EXPECT_TRUE(removed_.count(attr.data_id()));
}

TEST_F(MetaServerTest, TruncatesOverTheChains) {
  StartStorage();
  const proto::Attr attr = *Create("file");
  proto::FsyncRequest fsync;
  fsync.set_inode(attr.inode());
  fsync.mutable_report()->set_size_epoch(attr.size_epoch());
  fsync.mutable_report()->set_length(10'000'000);
  proto::AttrResponse response;
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Fsync, fsync, &response).ok());
  EXPECT_EQ(response.attr().size(), 10'000'000u);
  proto::TruncateRequest truncate;
  truncate.set_inode(attr.inode());
  truncate.set_size(5);
  ASSERT_TRUE(Meta(&proto::Meta::Stub::Truncate, truncate, &response).ok());
  EXPECT_EQ(response.attr().size(), 5u);
  {
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(removed_.count(attr.data_id()));
  }
  truncate.set_size(6);
  EXPECT_TRUE(Meta(&proto::Meta::Stub::Truncate, truncate, &response).ok());
}

TEST_F(MetaServerTest, StatusAndStatFsShowWhatTargetsReport) {
  StartStorage();
  const proto::ClusterStatus status = GetStatus();
  EXPECT_EQ(status.total_bytes(), 50'000u);
  EXPECT_EQ(status.raw_used_bytes(), 1000u);
  EXPECT_EQ(status.meta_address(), server_->address());
  EXPECT_FALSE(status.version().empty());
  EXPECT_EQ(status.files(), 0u);
  proto::StatFsResponse statfs;
  ASSERT_TRUE(Meta(&proto::Meta::Stub::StatFs, proto::StatFsRequest(), &statfs).ok());
  EXPECT_EQ(statfs.total_bytes(), 50'000u);
  EXPECT_EQ(statfs.free_bytes(), 49'000u);
}

TEST_F(MetaServerTest, WatchersSeeTheMapNowAndEachChange) {
  grpc::ClientContext context;
  auto stream = cluster_->WatchClusterMap(&context, proto::GetClusterMapRequest());
  proto::ClusterMap map;
  ASSERT_TRUE(stream->Read(&map));
  EXPECT_EQ(map.nodes_size(), 0);
  StartStorage();
  while (map.chains_size() == 0) ASSERT_TRUE(stream->Read(&map));
  EXPECT_EQ(map.nodes_size(), 1);
  EXPECT_EQ(map.tables_size(), 1);
  proto::GetClusterMapRequest request;
  request.set_known_version(map.version());
  proto::GetClusterMapResponse response;
  ASSERT_TRUE(Cluster(&proto::Cluster::Stub::GetClusterMap, request, &response).ok());
  EXPECT_FALSE(response.has_map()) << "known already";
  // A server that stops hangs up rather than waiting for its watchers.
  server_.reset();
  EXPECT_FALSE(stream->Read(&map));
  EXPECT_EQ(FromGrpc(stream->Finish()).code(), Code::kUnavailable);
}

TEST_F(MetaServerTest, AWatcherThatHangsUpIsForgotten) {
  for (int i = 0; i < 10; ++i) {
    grpc::ClientContext context;
    auto stream = cluster_->WatchClusterMap(&context, proto::GetClusterMapRequest());
    proto::ClusterMap map;
    ASSERT_TRUE(stream->Read(&map));
    context.TryCancel();
    while (stream->Read(&map)) {
    }
    EXPECT_EQ(FromGrpc(stream->Finish()).code(), Code::kCancelled);
  }
  StartStorage();
}

TEST_F(MetaServerTest, HeartbeatsRenewLeases) {
  StartStorage();
  proto::HeartbeatRequest request;
  request.set_node_id(1);
  request.set_uuid("node-uuid");
  request.set_map_version(GetStatus().map().version());
  proto::HeartbeatResponse response;
  ASSERT_TRUE(Cluster(&proto::Cluster::Stub::Heartbeat, request, &response).ok());
  EXPECT_EQ(response.lease_ms(), options_.lease.count());
  request.set_node_id(9);
  EXPECT_EQ(Cluster(&proto::Cluster::Stub::Heartbeat, request, &response).code(), Code::kNotFound);
}

TEST_F(MetaServerTest, RefusesASecondServerOnItsDirectoryAndItsPort) {
  MetaServerOptions second = options_;
  EXPECT_EQ(MetaServer::Start(second).status().code(), Code::kBusy);
  second.data_dir = dir_ / "other";
  second.listen = server_->address();
  EXPECT_EQ(MetaServer::Start(second).status().code(), Code::kExists);
}

}  // namespace
}  // namespace sheaf::meta
