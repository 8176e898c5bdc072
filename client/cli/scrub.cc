#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "client/cli/cluster_calls.h"
#include "client/cli/paths.h"
#include "client/cli/sizes.h"
#include "client/cli/verbs.h"
#include "common/rpc.h"
#include "proto/scrub.grpc.pb.h"

namespace sheaf::cli {
namespace {

// A person waits for these.
constexpr std::chrono::milliseconds kTimeout{10'000};

struct Options {
  std::string meta;
  bool json = false;
};

struct NodeScrub {
  uint32_t node = 0;
  Status status;  // why there is no answer
  proto::GetScrubResponse answer;
};

// Calls every storage server that is up.
template <typename Ask>
Result<std::vector<NodeScrub>> AskNodes(const Options& options, Ask ask) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClusterCalls calls(meta);
  ASSIGN_OR_RETURN(const proto::ClusterStatus status, calls.GetStatus(kTimeout));
  std::vector<NodeScrub> nodes;
  for (const proto::Node& node : status.map().nodes()) {
    NodeScrub entry{.node = node.id()};
    if (node.state() == proto::NODE_DOWN) {
      entry.status = {Code::kUnavailable, "down"};
    } else {
      const auto stub = proto::Scrub::NewStub(MakeChannel(node.addresses().grpc()));
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + kTimeout);
      entry.status = ask(*stub, context, entry.answer);
    }
    nodes.push_back(std::move(entry));
  }
  return nodes;
}

Result<std::vector<NodeScrub>> GetAll(const Options& options) {
  return AskNodes(options, [](auto& stub, auto& context, proto::GetScrubResponse& answer) {
    return FromGrpc(stub.GetScrub(&context, {}, &answer));
  });
}

nlohmann::ordered_json ToJson(const NodeScrub& node) {
  nlohmann::ordered_json entry = {{"node", node.node}};
  if (!node.status.ok()) {
    entry["error"] = node.status.message();
    return entry;
  }
  entry["mib_per_s"] = node.answer.mib_per_s();
  entry["targets"] = nlohmann::ordered_json::array();
  for (const proto::TargetScrub& target : node.answer.targets()) {
    nlohmann::ordered_json bad = nlohmann::ordered_json::array();
    for (const proto::BadChunk& chunk : target.bad()) {
      bad.push_back({{"chain", chunk.chain()},
                     {"data_id", chunk.data_id()},
                     {"index", chunk.index()},
                     {"error", chunk.error()}});
    }
    entry["targets"].push_back({{"id", target.target_id()},
                                {"uuid", target.target_uuid()},
                                {"running", target.running()},
                                {"passes", target.passes()},
                                {"chunks", target.chunks()},
                                {"bytes", target.bytes()},
                                {"used_bytes", target.used_bytes()},
                                {"bad_chunks", target.bad_chunks()},
                                {"repaired_chunks", target.repaired_chunks()},
                                {"bad", std::move(bad)}});
  }
  return entry;
}

void Print(const NodeScrub& node) {
  if (!node.status.ok()) {
    std::printf("node %u: %s\n", node.node, node.status.message().c_str());
    return;
  }
  for (const proto::TargetScrub& target : node.answer.targets()) {
    std::printf("node %u target %u: %s, %s of %s read in this pass, %llu passes, %llu bad chunks, "
                "%llu repaired\n",
                node.node, target.target_id(),
                node.answer.mib_per_s() == 0 ? "off"
                : target.running()           ? "running"
                                             : "resting",
                FormatSize(target.bytes()).c_str(), FormatSize(target.used_bytes()).c_str(),
                static_cast<unsigned long long>(target.passes()),
                static_cast<unsigned long long>(target.bad_chunks()),
                static_cast<unsigned long long>(target.repaired_chunks()));
    for (const proto::BadChunk& chunk : target.bad()) {
      std::printf("  chain %u: %s\n", chunk.chain(), chunk.error().c_str());
    }
  }
}

Status Show(const Options& options) {
  ASSIGN_OR_RETURN(const std::vector<NodeScrub> nodes, GetAll(options));
  if (options.json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const NodeScrub& node : nodes) all.push_back(ToJson(node));
    std::printf("%s\n", nlohmann::ordered_json{{"nodes", all}}.dump(2).c_str());
  } else {
    for (const NodeScrub& node : nodes) Print(node);
  }
  return Status::Ok();
}

Status Start(const Options& options) {
  ASSIGN_OR_RETURN(const std::vector<NodeScrub> nodes,
                   AskNodes(options, [](auto& stub, auto& context, auto&) {
                     proto::StartScrubResponse answer;
                     return FromGrpc(stub.StartScrub(&context, {}, &answer));
                   }));
  Status failed;
  for (const NodeScrub& node : nodes) {
    if (!node.status.ok()) failed = node.status.With("node " + std::to_string(node.node));
  }
  return failed;
}

}  // namespace

Verb AddScrub(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* scrub = app.add_subcommand(
      "scrub", "Storage servers read and verify every chunk: show how far, or begin anew.");
  scrub->require_subcommand(1);
  CLI::App* start = scrub->add_subcommand("start", "Begin a pass on every target now");
  CLI::App* status = scrub->add_subcommand("status", "Show passes, progress and bad chunks");
  for (CLI::App* command : {start, status}) {
    command->add_option("--meta", options->meta,
                        "HOST:PORT of the metadata service (default: the mount one is in, "
                        "SHEAF_META, else ~/.sheaf's)");
  }
  status->add_flag("--json", options->json, "One JSON object");
  return {scrub, [options, start] { return start->parsed() ? Start(*options) : Show(*options); }};
}

}  // namespace sheaf::cli
