#include "client/cli/check_source.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "common/rpc.h"
#include "proto/admin.grpc.pb.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/data.grpc.pb.h"

namespace sheaf::cli {
namespace {

constexpr std::chrono::milliseconds kCallTimeout{30'000};
// One that reads every row that names data.
constexpr std::chrono::milliseconds kScanTimeout{30 * 60'000};
// A chain that changes meanwhile is asked again by the newest map.
constexpr int kChainTries = 4;

class GrpcCheckSource final : public CheckSource {
 public:
  explicit GrpcCheckSource(const std::string& meta_address) : channel_(MakeChannel(meta_address)) {
    admin_ = proto::Admin::NewStub(channel_);
    cluster_ = proto::Cluster::NewStub(channel_);
  }

  Result<proto::ClusterMap> Map() override {
    RETURN_IF_ERROR(FetchMap());
    return map_;
  }
  Result<uint64_t> BeginCheck() override {
    const auto answer =
        Call("begin check", *admin_, &proto::Admin::Stub::BeginCheck, proto::BeginCheckRequest());
    if (!answer.ok()) return answer.status();
    return answer->check();
  }
  Result<proto::StepCheckResponse> StepCheck(uint64_t check) override {
    proto::StepCheckRequest request;
    request.set_check(check);
    return Call("check", *admin_, &proto::Admin::Stub::StepCheck, request);
  }
  Result<proto::RepairFindingResponse> Repair(uint64_t check,
                                              const proto::Finding& finding) override {
    proto::RepairFindingRequest request;
    request.set_check(check);
    *request.mutable_finding() = finding;
    return Call("repair", *admin_, &proto::Admin::Stub::RepairFinding, request);
  }
  Status EndCheck(uint64_t check) override {
    proto::EndCheckRequest request;
    request.set_check(check);
    return Call("end check", *admin_, &proto::Admin::Stub::EndCheck, request).status();
  }
  Result<proto::ListDataResponse> ListData(const proto::ListDataRequest& request) override {
    return Call("list data", *admin_, &proto::Admin::Stub::ListData, request);
  }
  Result<proto::GetDataResponse> GetData(uint64_t inode) override {
    proto::GetDataRequest request;
    request.set_inode(inode);
    return Call("get data", *admin_, &proto::Admin::Stub::GetData, request);
  }
  Result<proto::DropOrphansResponse> DropOrphans(
      const proto::DropOrphansRequest& request) override {
    return Call("drop orphans", *admin_, &proto::Admin::Stub::DropOrphans, request, kScanTimeout);
  }

  Result<proto::ListChunksResponse> ListChunks(uint32_t chain, std::optional<ChunkId> after,
                                               std::optional<uint64_t> data_id,
                                               uint32_t limit) override {
    proto::ListChunksRequest request = ListRequest(after, data_id, limit);
    Status last;
    for (int attempt = 0; attempt < kChainTries; ++attempt) {
      if (attempt > 0 || map_.version() == 0) RETURN_IF_ERROR(FetchMap());
      auto answer = AskMember(chain, std::nullopt, request);
      if (answer.ok() || answer.status().retry() == Retry::kNever) return answer;
      last = answer.status();
    }
    return last;
  }
  Result<proto::ListChunksResponse> ListReplica(uint32_t chain, uint32_t target,
                                                std::optional<ChunkId> after,
                                                std::optional<uint64_t> data_id,
                                                uint32_t limit) override {
    proto::ListChunksRequest request = ListRequest(after, data_id, limit);
    return AskMember(chain, target, request);
  }

 private:
  template <typename Stub, typename Request, typename Response>
  static Result<Response> Call(const char* what, Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
                               const Request& request,
                               std::chrono::milliseconds timeout = kCallTimeout) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    context.set_wait_for_ready(true);
    Response response;
    const Status status = FromGrpc((stub.*method)(&context, request, &response));
    if (!status.ok()) return status.With(what);
    return response;
  }

  Status FetchMap() {
    auto answer = Call("get cluster map", *cluster_, &proto::Cluster::Stub::GetClusterMap,
                       proto::GetClusterMapRequest());
    RETURN_IF_ERROR(answer.status());
    map_ = std::move(*answer->mutable_map());
    return Status::Ok();
  }

  static proto::ListChunksRequest ListRequest(std::optional<ChunkId> after,
                                              std::optional<uint64_t> data_id, uint32_t limit) {
    proto::ListChunksRequest request;
    if (after) {
      request.mutable_after()->set_data_id(after->data_id.value());
      request.mutable_after()->set_index(after->index);
    }
    if (data_id) request.set_data_id(*data_id);
    request.set_limit(limit);
    return request;
  }

  // The head without `target`. A node has one member of a chain at most, so its address names that.
  Result<proto::ListChunksResponse> AskMember(uint32_t id, std::optional<uint32_t> target,
                                              proto::ListChunksRequest& request) {
    const std::string what = "chain " + std::to_string(id);
    for (const proto::Chain& chain : map_.chains()) {
      if (chain.id() != id) continue;
      const auto member = std::find_if(
          chain.members().begin(), chain.members().end(),
          [&](const proto::ChainMember& each) { return !target || each.target_id() == *target; });
      if (member == chain.members().end() || member->state() != proto::SERVING) {
        return Status(Code::kNotServing, what + " does not serve there");
      }
      request.mutable_ctx()->set_chain_id(id);
      request.mutable_ctx()->set_chain_version(chain.version());
      const std::string address = AddressOf(member->target_id());
      if (address.empty()) {
        return Status(Code::kNotServing, what + ": target " +
                                             std::to_string(member->target_id()) +
                                             " has no address");
      }
      auto& stub = servers_[address];
      if (stub == nullptr) stub = proto::Data::NewStub(MakeChannel(address));
      return Call("list chunks", *stub, &proto::Data::Stub::List, request);
    }
    return Status(Code::kWrongChain, what + " does not exist");
  }

  std::string AddressOf(uint32_t target_id) const {
    for (const proto::Target& target : map_.targets()) {
      if (target.id() != target_id) continue;
      for (const proto::Node& node : map_.nodes()) {
        if (node.id() == target.node_id()) return node.addresses().grpc();
      }
    }
    return {};
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<proto::Admin::Stub> admin_;
  std::unique_ptr<proto::Cluster::Stub> cluster_;
  std::map<std::string, std::unique_ptr<proto::Data::Stub>> servers_;
  proto::ClusterMap map_;
};

}  // namespace

std::unique_ptr<CheckSource> MakeCheckSource(const std::string& meta_address) {
  return std::make_unique<GrpcCheckSource>(meta_address);
}

}  // namespace sheaf::cli
