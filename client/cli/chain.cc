#include <poll.h>
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <algorithm>
#include <cstdio>

#include "client/cli/cluster_calls.h"
#include "client/cli/lists.h"
#include "client/cli/membership.h"
#include "client/cli/paths.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallTimeout{5000};
constexpr milliseconds kPollEvery{100};
constexpr uint32_t kDefaultReplicas = 3;

struct Options {
  std::string meta;
  uint32_t replicas = 0;  // 0: not given
  uint32_t chains_per_target = 8;
  uint32_t nodes = 1;
  uint32_t wait_s = 60;
};

// "10.0.0.2:7710, 10.0.0.3:7710" of the nodes that are up, and how many those are.
std::pair<uint32_t, std::string> NodesUp(const proto::ClusterMap& map) {
  std::pair<uint32_t, std::string> up;
  for (const proto::Node& node : map.nodes()) {
    if (node.state() != proto::NODE_UP) continue;
    up.second += (up.first++ > 0 ? ", " : "") + node.addresses().framed();
  }
  return up;
}

// Chains are laid over the targets that are there when they are made, so all must have come.
Status WaitForNodes(ClusterCalls& calls, const Options& options) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(options.wait_s);
  for (;;) {
    std::string seen = "the metadata service does not answer";
    const auto status = calls.GetStatus(kCallTimeout);
    if (status.ok()) {
      const auto [count, names] = NodesUp(status->map());
      if (count >= options.nodes) return Status::Ok();
      seen = std::to_string(count) + " up" + (count > 0 ? ": " + names : "");
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      return {Code::kDeadline, "storage servers: not " + std::to_string(options.nodes) + " after " +
                                   std::to_string(options.wait_s) + " s (" + seen +
                                   "); look into the logs of those that are missing"};
    }
    poll(nullptr, 0, static_cast<int>(kPollEvery.count()));
  }
}

Status Create(const Options& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClusterCalls calls(meta);
  RETURN_IF_ERROR(WaitForNodes(calls, options));
  ASSIGN_OR_RETURN(const proto::ClusterStatus before, calls.GetStatus(kCallTimeout));
  const bool there = !before.map().tables().empty();
  const uint32_t replicas =
      options.replicas != 0 ? options.replicas : std::min(kDefaultReplicas, options.nodes);
  if (!there || options.replicas != 0)
    RETURN_IF_ERROR(calls.CreateChains(replicas, options.chains_per_target, kCallTimeout));
  ASSIGN_OR_RETURN(const proto::ClusterStatus after, calls.GetStatus(kCallTimeout));
  std::printf("%s %d chains\n", there ? "there are" : "created", after.map().chains_size());
  return Status::Ok();
}

}  // namespace

Verb AddChain(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* chain = app.add_subcommand("chain", "Chains: the targets that hold the same chunks.");
  chain->require_subcommand(1);
  CLI::App* create = chain->add_subcommand(
      "create",
      "Lay the chains of a new cluster over its targets; with chains that are as asked for, do "
      "nothing.");
  create->add_option("--meta", options->meta,
                     "HOST:PORT of the metadata service (default: SHEAF_META, else ~/.sheaf's)");
  create
      ->add_option("--replicas", options->replicas,
                   "Copies of each chunk (default: 3, or --nodes where that is less)")
      ->check(CLI::Range(1u, 8u));
  create
      ->add_option("--chains-per-target", options->chains_per_target,
                   "Chains that each target is a member of")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  create->add_option("--nodes", options->nodes, "Wait until this many storage servers are up")
      ->check(CLI::Range(1u, 65536u))
      ->capture_default_str();
  create->add_option("--wait", options->wait_s, "Longest wait for them, seconds")
      ->check(CLI::Range(1u, 3600u))
      ->capture_default_str();
  auto list_options = std::make_shared<ListOptions>();
  AddList(*chain, "Show them: version, targets and their states.", list_options);
  auto change = std::make_shared<MembershipOptions>();
  CLI::App* reset = AddReset(*chain, change);
  return {chain, [options, list_options, change, create, reset] {
            if (create->parsed()) return Create(*options);
            return reset->parsed() ? ResetChain(*change)
                                   : PrintList(ListOf::kChains, *list_options);
          }};
}

}  // namespace sheaf::cli
