#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "client/meta/meta_client.h"
#include "client/meta/session.h"
#include "common/rpc.h"
#include "meta/kv/rocksdb_kv.h"
#include "meta/schema/keys.h"
#include "meta/service/meta_server.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/meta.grpc.pb.h"
#include "tests/support/call_proxy.h"
#include "tests/support/fake_clock.h"
#include "tests/support/frame_server.h"
#include "tests/support/temp_dir.h"

// Every mutation of the metadata service has its reply lost once and its request sent twice once,
// the service restarted in between or not, and arrives once more much later. Judged by the rows of
// the store: after each they are what they are when nothing happened, byte for byte, versions
// included. What is called is the client's own MetaClient over gRPC.

namespace sheaf::meta {
namespace {

using client::MetaClient;
using sheaf::testing::CallProxy;
using sheaf::testing::FrameServer;
using sheaf::testing::TempDir;
using Rows = std::map<std::string, std::string>;

struct NothingOpen : client::OpenInodes {
  uint64_t OpenMark() const override { return 0; }
  bool OpensSettled(uint64_t) const override { return true; }
  bool IsOpen(InodeId) const override { return false; }
  bool UsesData(InodeId, DataId) const override { return false; }
};

constexpr uint64_t kRoot = 1;
constexpr uint64_t kLength = 9 << 20;  // over two chunks: shortening it has something to trim

// A metadata service, a client whose calls to it go through a proxy, and some files: always the
// same ones, under a clock that stands still.
class Rig {
 public:
  Rig() {
    options_.data_dir = dir_ / "meta";
    options_.listen = "127.0.0.1:0";
    options_.metrics = "";
    options_.reclaim_interval = std::chrono::hours(1);  // its rows would come and go
    Start();
    AddStorage();
    proxy_ = std::make_unique<CallProxy>(server_->address());
    cluster_ = std::make_unique<client::ClusterClient>(server_->address());
    session_ = client::Session::Open(*cluster_, "exactly once", open_).value();
    meta_ = std::make_unique<MetaClient>(proxy_->address(), std::chrono::milliseconds(60'000),
                                         *session_);
    stub_ = proto::Meta::NewStub(MakeChannel(proxy_->address()));
    MakeFiles();
  }

  void Restart() {
    options_.listen = server_->address();
    server_.reset();
    Start();
    proxy_->SetUpstream(server_->address());
  }
  // Everything the service stores but its answers, sessions, the manager's rows and its own
  // counters of batches and incarnations. The service is down meanwhile.
  Rows Dump() {
    options_.listen = server_->address();
    server_.reset();
    Rows rows;
    {
      auto store = OpenRocksDbKv(options_.data_dir + "/db", RocksDbKvOptions()).value();
      const Status scanned = store->Scan("", "\xff", 0, [&](auto key, auto value) {
        if (Counts(key)) rows.emplace(key, value);
        return true;
      });
      EXPECT_TRUE(scanned.ok()) << scanned.ToString();
    }
    Start();
    proxy_->SetUpstream(server_->address());
    return rows;
  }

  MetaClient& meta() { return *meta_; }
  CallProxy& proxy() { return *proxy_; }
  FakeClock& clock() { return clock_; }
  client::RequestLedger& ledger() { return *session_->ledger(); }
  uint64_t Inode(const std::string& name) const { return inodes_.at(name); }

  // For what MetaClient has no call for: the same request until it is answered.
  template <typename Request, typename Response>
  Result<Response> Repeat(grpc::Status (proto::Meta::Stub::*method)(grpc::ClientContext*,
                                                                    const Request&, Response*),
                          Request request) {
    const auto ledger = session_->ledger();
    proto::RequestId& id = *request.mutable_ctx()->mutable_request();
    id.set_incarnation(ledger->incarnation().value());
    id.set_sequence(ledger->Begin());
    id.set_lowest_outstanding(ledger->Lowest());
    Status status;
    Response response;
    do {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
      status = FromGrpc((stub_.get()->*method)(&context, request, &response));
    } while (status.code() == Code::kUnavailable);
    ledger->End(id.sequence());
    if (!status.ok()) return status;
    return response;
  }

 private:
  static bool Counts(std::string_view key) {
    static const std::set<char> kNotCompared = {
        static_cast<char>(Table::kCluster), static_cast<char>(Table::kResult),
        static_cast<char>(Table::kSession), static_cast<char>(Table::kStore)};
    return !kNotCompared.contains(key.front()) && key != AllocatorKey(Sequence::kIncarnation);
  }
  void Start() {
    auto server = MetaServer::Start(options_, clock_);
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
  }
  // A server that agrees to whatever it is asked, and a chain table.
  void AddStorage() {
    storage_ = FrameServer::Start([](const std::shared_ptr<FrameServer::Peer>& peer,
                                     const FrameServer::Request& request) {
                 peer->Respond(request.header.request_id, "");
               }).value();
    proto::RegisterNodeRequest node;
    node.set_uuid("node-uuid");
    node.mutable_addresses()->set_framed(storage_->address().ToString());
    proto::TargetReport* target = node.add_targets();
    target->set_uuid("disk-uuid");
    target->set_state(proto::UP_TO_DATE);
    target->set_total_bytes(50'000);
    const auto stub = proto::Cluster::NewStub(MakeChannel(server_->address()));
    // The service comes back under the same address.
    heartbeat_stub_ = proto::Cluster::NewStub(MakeChannel(server_->address()));
    proto::RegisterNodeResponse registered;
    grpc::ClientContext first;
    Status status = FromGrpc(stub->RegisterNode(&first, node, &registered));
    CHECK(status.ok(), status.ToString());
    heartbeats_ = std::jthread([this, id = registered.node_id()](std::stop_token stop) {
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable_any never;
      do {
        SendHeartbeat(id);
      } while (!never.wait_for(lock, stop, std::chrono::milliseconds(20),
                               [&] { return stop.stop_requested(); }));
    });
    proto::CreateChainsRequest chains;
    chains.set_replicas(1);
    proto::CreateChainsResponse created;
    grpc::ClientContext second;
    status = FromGrpc(stub->CreateChains(&second, chains, &created));
    CHECK(status.ok(), status.ToString());
  }
  // Knows every map at once: what the service has fenced is fenced here.
  void SendHeartbeat(uint32_t node) {
    proto::HeartbeatRequest request;
    request.set_node_id(node);
    request.set_uuid("node-uuid");
    request.set_map_version(UINT64_MAX);
    proto::HeartbeatResponse response;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
    (void)heartbeat_stub_->Heartbeat(&context, request, &response);
  }
  void MakeFiles() {
    for (const char* name : {"dir", "empty", "empty2"}) {
      proto::MkdirRequest request;
      request.set_parent(kRoot);
      request.set_name(name);
      request.set_mode(0755);
      inodes_[name] = meta_->Mkdir({}, request)->attr().inode();
    }
    for (const char* name : {"file", "victim", "victim2", "mover"}) {
      proto::CreateRequest request;
      request.set_parent(kRoot);
      request.set_name(name);
      request.set_mode(0644);
      request.set_open_flags(O_RDWR);
      inodes_[name] = meta_->Create({}, request)->attr().inode();
    }
    // Three handles that may write: a Close ends one of them.
    proto::OpenRequest open;
    open.set_inode(Inode("file"));
    open.set_flags(O_RDWR);
    CHECK(meta_->Open({}, open).ok());
    CHECK(meta_->Open({}, open).ok());
    proto::FsyncRequest fsync;
    fsync.set_inode(Inode("file"));
    fsync.mutable_report()->set_size_epoch(1);
    fsync.mutable_report()->set_length(kLength);
    CHECK(meta_->Fsync({}, fsync).ok());
    proto::SetXattrRequest xattr;
    xattr.set_inode(Inode("file"));
    xattr.set_name("user.there");
    xattr.set_value("1");
    CHECK(meta_->SetXattr({}, xattr).ok());
  }

  TempDir dir_;
  FakeClock clock_;
  MetaServerOptions options_;
  NothingOpen open_;
  std::unique_ptr<FrameServer> storage_;
  std::unique_ptr<MetaServer> server_;
  std::unique_ptr<CallProxy> proxy_;
  std::unique_ptr<client::ClusterClient> cluster_;
  std::unique_ptr<client::Session> session_;
  std::unique_ptr<MetaClient> meta_;
  std::unique_ptr<proto::Meta::Stub> stub_;
  std::map<std::string, uint64_t> inodes_;
  std::unique_ptr<proto::Cluster::Stub> heartbeat_stub_;
  std::jthread heartbeats_;  // ends before the rest
};

// --- The mutations ---

struct Mutation {
  std::string rpc;
  std::string variant;
  std::function<Result<std::string>(Rig&)> act;  // answers the response's bytes
};

template <typename Response>
Result<std::string> Bytes(const Result<Response>& response) {
  if (!response.ok()) return response.status();
  return response->SerializeAsString();
}

// A request for something in the root directory.
template <typename Request>
Request Named(const std::string& name) {
  Request request;
  request.set_parent(kRoot);
  request.set_name(name);
  return request;
}

proto::LengthReport Report(uint64_t length) {
  proto::LengthReport report;
  report.set_size_epoch(1);
  report.set_length(length);
  report.set_wrote(true);
  return report;
}

Result<std::string> DoSetAttr(Rig& rig) {
  proto::SetAttrRequest request;
  request.set_inode(rig.Inode("file"));
  request.set_mode(0600);
  request.set_mtime_now(true);
  return Bytes(rig.meta().SetAttr({}, request));
}
Result<std::string> DoCreate(Rig& rig) {
  auto request = Named<proto::CreateRequest>("created");
  request.set_mode(0644);
  request.set_exclusive(true);
  request.set_open_flags(O_RDWR);
  return Bytes(rig.meta().Create({}, request));
}
Result<std::string> DoCreateExisting(Rig& rig) {
  auto request = Named<proto::CreateRequest>("mover");
  request.set_open_flags(O_WRONLY | O_TRUNC);
  return Bytes(rig.meta().Create({}, request));
}
Result<std::string> DoMkdir(Rig& rig) {
  return Bytes(rig.meta().Mkdir({}, Named<proto::MkdirRequest>("made")));
}
// Its error is an answer as any other, and stays the answer.
Result<std::string> DoMkdirThatFails(Rig& rig) {
  return Bytes(rig.meta().Mkdir({}, Named<proto::MkdirRequest>("file")));
}
Result<std::string> DoMknod(Rig& rig) {
  auto request = Named<proto::MknodRequest>("pipe");
  request.set_mode(S_IFIFO | 0600);
  return Bytes(rig.meta().Mknod({}, request));
}
Result<std::string> DoSymlink(Rig& rig) {
  auto request = Named<proto::SymlinkRequest>("symlink");
  request.set_target("file");
  return Bytes(rig.meta().Symlink({}, request));
}
Result<std::string> DoLink(Rig& rig) {
  auto request = Named<proto::LinkRequest>("hardlink");
  request.set_inode(rig.Inode("file"));
  return Bytes(rig.meta().Link({}, request));
}
Result<std::string> DoUnlink(Rig& rig) {
  return Bytes(rig.meta().Unlink({}, Named<proto::UnlinkRequest>("victim")));
}
Result<std::string> DoRmdir(Rig& rig) {
  return Bytes(rig.meta().Rmdir({}, Named<proto::RmdirRequest>("empty")));
}
// Executed twice it would exchange the names back.
Result<std::string> DoRename(Rig& rig) {
  auto request = Named<proto::RenameRequest>("mover");
  request.set_new_parent(kRoot);
  request.set_new_name("dir");
  request.set_flags(2);  // RENAME_EXCHANGE
  return Bytes(rig.meta().Rename({}, request));
}
Result<std::string> DoOpen(Rig& rig) {
  proto::OpenRequest request;
  request.set_inode(rig.Inode("file"));
  request.set_flags(O_WRONLY);
  return Bytes(rig.meta().Open({}, request));
}
Result<std::string> DoOpenTruncating(Rig& rig) {
  proto::OpenRequest request;
  request.set_inode(rig.Inode("mover"));
  request.set_flags(O_RDWR | O_TRUNC);
  return Bytes(rig.meta().Open({}, request));
}
Result<std::string> DoClose(Rig& rig) {
  proto::CloseRequest request;
  request.set_inode(rig.Inode("file"));
  *request.mutable_report() = Report(kLength + 1);
  return Bytes(rig.meta().Close({}, request));
}
Result<std::string> DoFsync(Rig& rig) {
  proto::FsyncRequest request;
  request.set_inode(rig.Inode("file"));
  *request.mutable_report() = Report(kLength + 2);
  return Bytes(rig.meta().Fsync({}, request));
}
Result<std::string> DoTruncate(Rig& rig) {
  proto::TruncateRequest request;
  request.set_inode(rig.Inode("file"));
  request.set_size(5);
  return Bytes(rig.meta().Truncate({}, request));
}
Result<std::string> DoTruncateToNothing(Rig& rig) {
  proto::TruncateRequest request;
  request.set_inode(rig.Inode("victim2"));
  return Bytes(rig.meta().Truncate({}, request));
}
Result<std::string> DoReserveAppend(Rig& rig) {
  proto::ReserveAppendRequest request;
  request.set_inode(rig.Inode("mover"));
  request.set_size_epoch(1);
  request.set_bytes(4096);
  return Bytes(rig.Repeat(&proto::Meta::Stub::ReserveAppend, request));
}
Result<std::string> DoSetXattr(Rig& rig) {
  proto::SetXattrRequest request;
  request.set_inode(rig.Inode("file"));
  request.set_name("user.new");
  request.set_value("2");
  request.set_flags(1);  // XATTR_CREATE
  return Bytes(rig.meta().SetXattr({}, request));
}
Result<std::string> DoRemoveXattr(Rig& rig) {
  proto::RemoveXattrRequest request;
  request.set_inode(rig.Inode("file"));
  request.set_name("user.there");
  return Bytes(rig.meta().RemoveXattr({}, request));
}

// Every kind of entry, and two that fail.
proto::BatchRequest BatchOfEverything(uint64_t inode) {
  proto::BatchRequest batch;
  *batch.add_operations()->mutable_lookup() = Named<proto::LookupRequest>("dir");
  batch.add_operations()->mutable_get_attr()->set_inode(inode);
  *batch.add_operations()->mutable_create() = Named<proto::CreateRequest>("batch-created");
  batch.mutable_operations(2)->mutable_create()->set_open_flags(O_RDWR);
  auto* close = batch.add_operations()->mutable_close();
  close->set_inode(inode);
  *close->mutable_report() = Report(kLength + 3);
  auto* attr = batch.add_operations()->mutable_set_attr();
  attr->set_inode(inode);
  attr->set_mode(0640);
  *batch.add_operations()->mutable_unlink() = Named<proto::UnlinkRequest>("victim2");
  *batch.add_operations()->mutable_unlink() = Named<proto::UnlinkRequest>("missing");
  *batch.add_operations()->mutable_mkdir() = Named<proto::MkdirRequest>("batch-made");
  *batch.add_operations()->mutable_mkdir() = Named<proto::MkdirRequest>("batch-made");
  auto* link = batch.add_operations()->mutable_symlink();
  *link = Named<proto::SymlinkRequest>("batch-link");
  link->set_target("x");
  *batch.add_operations()->mutable_rmdir() = Named<proto::RmdirRequest>("empty2");
  return batch;
}
Result<std::string> DoBatch(Rig& rig) {
  return Bytes(rig.meta().Batch({}, BatchOfEverything(rig.Inode("file"))));
}

const std::vector<Mutation>& Mutations() {
  static const std::vector<Mutation> kMutations = {
      {"SetAttr", "", DoSetAttr},
      {"Create", "", DoCreate},
      {"Create", "Existing", DoCreateExisting},
      {"Mkdir", "", DoMkdir},
      {"Mkdir", "ThatFails", DoMkdirThatFails},
      {"Mknod", "", DoMknod},
      {"Symlink", "", DoSymlink},
      {"Link", "", DoLink},
      {"Unlink", "", DoUnlink},
      {"Rmdir", "", DoRmdir},
      {"Rename", "", DoRename},
      {"Open", "", DoOpen},
      {"Open", "Truncating", DoOpenTruncating},
      {"Close", "", DoClose},
      {"Fsync", "", DoFsync},
      {"Truncate", "", DoTruncate},
      {"Truncate", "ToNothing", DoTruncateToNothing},
      {"ReserveAppend", "", DoReserveAppend},
      {"SetXattr", "", DoSetXattr},
      {"RemoveXattr", "", DoRemoveXattr},
      {"Batch", "", DoBatch},
  };
  return kMutations;
}
// What changes nothing, in no case.
const std::set<std::string> kReads = {"Lookup", "GetAttr",  "Readlink",  "ReadDir",
                                      "StatFs", "GetXattr", "ListXattr", "LookupPath"};

TEST(ExactlyOnceTableTest, HasEveryCallOfTheService) {
  std::set<std::string> listed = kReads;
  for (const Mutation& mutation : Mutations()) {
    EXPECT_FALSE(kReads.contains(mutation.rpc));
    listed.insert(mutation.rpc);
  }
  std::set<std::string> served;
  const auto* service = proto::BatchRequest::descriptor()->file()->FindServiceByName("Meta");
  ASSERT_NE(service, nullptr);
  for (int i = 0; i < service->method_count(); ++i) served.insert(service->method(i)->name());
  EXPECT_EQ(listed, served) << "a mutation gets a row in the table, a read a name in the list";
}

TEST(ExactlyOnceTableTest, ItsBatchHasEveryOperationOfABatch) {
  const proto::BatchRequest batch = BatchOfEverything(1);
  const auto* kinds = proto::BatchOperation::descriptor();
  for (int i = 0; i < kinds->field_count(); ++i) {
    const bool used = std::any_of(
        batch.operations().begin(), batch.operations().end(), [&](const auto& operation) {
          return static_cast<int>(operation.operation_case()) == kinds->field(i)->number();
        });
    EXPECT_TRUE(used) << kinds->field(i)->name();
  }
}

// --- One mutation, one fault ---

enum class Fault { kNone, kDropReply, kDuplicate, kDropReplyAndRestart, kDuplicateAfterRestart };

struct Outcome {
  Code code = Code::kOk;
  std::string body;
  Rows rows;
};

std::vector<CallProxy::Call> CallsOf(CallProxy& proxy, size_t from) {
  std::vector<CallProxy::Call> calls = proxy.calls();
  calls.erase(calls.begin(), calls.begin() + static_cast<ptrdiff_t>(from));
  return calls;
}

// The mutation under the fault, another one after it, then the first once more.
Outcome RunUnder(Fault fault, const Mutation& mutation) {
  Rig rig;
  const size_t before = rig.proxy().calls().size();
  const bool restarts =
      fault == Fault::kDropReplyAndRestart || fault == Fault::kDuplicateAfterRestart;
  const bool drops = fault == Fault::kDropReply || fault == Fault::kDropReplyAndRestart;
  const bool duplicates = fault == Fault::kDuplicate || fault == Fault::kDuplicateAfterRestart;
  rig.proxy().SetFate(drops        ? CallProxy::Fate::kDropReply
                      : duplicates ? CallProxy::Fate::kDuplicate
                                   : CallProxy::Fate::kNone,
                      [&] {
                        rig.clock().Advance(std::chrono::seconds(1));  // times would differ
                        if (restarts) rig.Restart();
                      });
  const Result<std::string> answer = mutation.act(rig);
  Outcome outcome{.code = answer.status().code(),
                  .body = answer.ok() ? *answer : answer.status().message()};

  const auto calls = CallsOf(rig.proxy(), before);
  EXPECT_EQ(calls.size(), drops ? 2u : 1u);
  EXPECT_EQ(calls.front().method, mutation.rpc);
  EXPECT_EQ(calls.front().request, calls.back().request);
  EXPECT_EQ(calls.front().reply, calls.back().reply);

  EXPECT_TRUE(rig.meta().Mkdir({}, Named<proto::MkdirRequest>("later")).ok());
  const CallProxy::Reply late = rig.proxy().Replay(calls.front());
  EXPECT_EQ(late.code, Code::kNoSession) << "answered before: refused";
  outcome.rows = rig.Dump();
  return outcome;
}

const Outcome& Undisturbed(const Mutation& mutation) {
  static std::map<std::string, Outcome> outcomes;
  const std::string key = mutation.rpc + mutation.variant;
  if (!outcomes.contains(key)) outcomes[key] = RunUnder(Fault::kNone, mutation);
  return outcomes.at(key);
}

class ExactlyOnceTest : public ::testing::TestWithParam<std::tuple<size_t, Fault>> {};

TEST_P(ExactlyOnceTest, IsAsIfNothingHadHappened) {
  const Mutation& mutation = Mutations()[std::get<0>(GetParam())];
  const Outcome& want = Undisturbed(mutation);
  const Outcome got = RunUnder(std::get<1>(GetParam()), mutation);
  EXPECT_EQ(got.code, want.code);
  EXPECT_EQ(got.body, want.body);
  EXPECT_EQ(got.rows, want.rows);
}

std::string NameOf(const ::testing::TestParamInfo<std::tuple<size_t, Fault>>& info) {
  static const std::map<Fault, std::string> kNames = {
      {Fault::kDropReply, "DroppedReply"},
      {Fault::kDuplicate, "Duplicate"},
      {Fault::kDropReplyAndRestart, "DroppedReplyAndRestart"},
      {Fault::kDuplicateAfterRestart, "DuplicateAfterRestart"}};
  const Mutation& mutation = Mutations()[std::get<0>(info.param)];
  return mutation.rpc + mutation.variant + kNames.at(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(EveryMutation, ExactlyOnceTest,
                         ::testing::Combine(::testing::Range(size_t{0}, Mutations().size()),
                                            ::testing::Values(Fault::kDropReply, Fault::kDuplicate,
                                                              Fault::kDropReplyAndRestart,
                                                              Fault::kDuplicateAfterRestart)),
                         NameOf);

// --- All of them, long after ---

class LateDuplicatesTest : public ::testing::Test {
 protected:
  // Every mutation once; answers the calls it took.
  std::vector<CallProxy::Call> RunAll() {
    const size_t before = rig_.proxy().calls().size();
    for (const Mutation& mutation : Mutations()) (void)mutation.act(rig_);
    return CallsOf(rig_.proxy(), before);
  }

  Rig rig_;
};

TEST_F(LateDuplicatesTest, GetTheFirstAnswerWhileTheClientMayAskAgain) {
  const uint64_t outstanding = rig_.ledger().Begin();  // keeps the lowest where it is
  const auto calls = RunAll();
  ASSERT_GE(calls.size(), Mutations().size());
  const Rows rows = rig_.Dump();  // and a restart
  for (auto call = calls.rbegin(); call != calls.rend(); ++call) {
    EXPECT_EQ(rig_.proxy().Replay(*call), call->reply) << call->method;
  }
  EXPECT_EQ(rig_.Dump(), rows);
  rig_.ledger().End(outstanding);
}

TEST_F(LateDuplicatesTest, AreRefusedOnceTheClientHasItsAnswers) {
  const auto calls = RunAll();
  ASSERT_TRUE(rig_.meta().Mkdir({}, Named<proto::MkdirRequest>("last")).ok());
  const Rows rows = rig_.Dump();
  for (auto call = calls.rbegin(); call != calls.rend(); ++call) {
    EXPECT_EQ(rig_.proxy().Replay(*call).code, Code::kNoSession) << call->method;
  }
  EXPECT_EQ(rig_.Dump(), rows);
}

TEST_F(LateDuplicatesTest, ASetAttrDoesNotUndoALaterOne) {
  const auto chmod = [&](uint32_t mode) {
    proto::SetAttrRequest request;
    request.set_inode(rig_.Inode("file"));
    request.set_mode(mode);
    ASSERT_TRUE(rig_.meta().SetAttr({}, request).ok());
  };
  chmod(0600);
  const CallProxy::Call first = rig_.proxy().calls().back();
  chmod(0644);
  EXPECT_EQ(rig_.proxy().Replay(first).code, Code::kNoSession);
  proto::GetAttrRequest request;
  request.set_inode(rig_.Inode("file"));
  EXPECT_EQ(rig_.meta().GetAttr({}, request)->attr().mode() & 07777, 0644u);
}

}  // namespace
}  // namespace sheaf::meta
