#include "client/cli/membership.h"

#include <poll.h>
#include <unistd.h>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "client/cli/cluster_calls.h"
#include "client/cli/paths.h"
#include "common/clock.h"

namespace sheaf::cli {
namespace {

using Json = nlohmann::ordered_json;

// A person waits for these.
constexpr std::chrono::milliseconds kTimeout{10'000};
constexpr std::chrono::milliseconds kPollEvery{500};
constexpr std::chrono::milliseconds kPollTimeout{2000};
constexpr std::chrono::seconds kAwayTold{5};  // then it is said that nobody answers

CLI::App* AddCommand(CLI::App& parent, const char* name, const char* help,
                     const std::shared_ptr<MembershipOptions>& options) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->add_option("--meta", options->meta,
                      "HOST:PORT of the metadata service (default: the mount one is in, "
                      "SHEAF_META, else ~/.sheaf's)");
  command->add_flag("--json", options->json, "One JSON object");
  return command;
}

std::string Chains(uint32_t count) {
  return std::to_string(count) + (count == 1 ? " chain" : " chains");
}

void Print(const MembershipOptions& options, const Json& facts, const std::string& text) {
  std::printf("%s\n", options.json ? facts.dump().c_str() : text.c_str());
  std::fflush(stdout);
}

const proto::Node* FindNode(const proto::ClusterMap& map, uint32_t id) {
  const auto found = std::find_if(map.nodes().begin(), map.nodes().end(),
                                  [&](const proto::Node& node) { return node.id() == id; });
  return found == map.nodes().end() ? nullptr : &*found;
}

// In place on a terminal, else a line for each change.
class Progress {
 public:
  explicit Progress(const MembershipOptions& options) : silent_(options.json) {}
  void Show(uint32_t node, uint32_t left) {
    if (silent_ || left == shown_) return;
    shown_ = left;
    std::fprintf(stderr, screen_ ? "\rnode %u: %s left\033[K" : "node %u: %s left\n", node,
                 Chains(left).c_str());
  }
  // Also where only the result is asked for: whoever waits wants to know why.
  void ShowAway(uint32_t node, const std::string& why, uint32_t timeout_s) {
    End();
    shown_ = kNothing;
    std::fprintf(stderr,
                 "node %u: the metadata service does not answer (%s); waiting up to %u s for it\n",
                 node, why.c_str(), timeout_s);
  }
  void End() const {
    if (screen_ && shown_ != kNothing) std::fputc('\n', stderr);
  }

 private:
  static constexpr uint32_t kNothing = UINT32_MAX;
  const bool silent_;
  const bool screen_ = isatty(STDERR_FILENO) == 1;
  uint32_t shown_ = kNothing;
};

Status Away(const MembershipOptions& options, const Status& last) {
  const std::string node = std::to_string(options.id);
  return {Code::kDeadline, "drain node " + node + ": the metadata service has not answered for " +
                               std::to_string(options.timeout_s) + " s (" + last.message() +
                               "); the node is drained all the same once it is back: `sheaf node "
                               "drain " +
                               node + "` waits for that again"};
}

// The metadata service may be away for a while: what it was told to do goes on when it is back.
Status AwaitDrained(ClusterCalls& calls, const MembershipOptions& options) {
  Progress progress(options);
  Clock::Instant answered = Clock::System().Now();
  bool told = false;
  for (;; poll(nullptr, 0, static_cast<int>(kPollEvery.count()))) {
    const auto status = calls.GetStatus(kPollTimeout);
    const Clock::Instant now = Clock::System().Now();
    if (!status.ok()) {
      const Clock::Instant away = now - answered;
      if (away >= std::chrono::seconds(options.timeout_s)) {
        progress.End();
        return Away(options, status.status());
      }
      if (away >= kAwayTold && !told) {
        progress.ShowAway(options.id, status.status().message(), options.timeout_s);
        told = true;
      }
      continue;
    }
    answered = now;
    told = false;
    const proto::Node* node = FindNode(status->map(), options.id);
    if (node == nullptr || node->state() != proto::NODE_DRAINING) {
      progress.End();
      return {Code::kCancelled,
              "drain node " + std::to_string(options.id) + ": it is no longer being drained"};
    }
    const uint32_t left = ChainsLeft(status->map(), options.id);
    progress.Show(options.id, left);
    if (left > 0) continue;
    progress.End();
    return Status::Ok();
  }
}

}  // namespace

uint32_t ChainsLeft(const proto::ClusterMap& map, uint32_t node) {
  std::set<uint32_t> targets;
  for (const proto::Target& target : map.targets()) {
    if (target.node_id() == node) targets.insert(target.id());
  }
  return static_cast<uint32_t>(
      std::count_if(map.chains().begin(), map.chains().end(), [&](const proto::Chain& chain) {
        return std::any_of(chain.members().begin(), chain.members().end(), [&](const auto& member) {
          return targets.contains(member.target_id());
        });
      }));
}

CLI::App* AddDrain(CLI::App& parent, const std::shared_ptr<MembershipOptions>& options) {
  CLI::App* drain = AddCommand(parent, "drain",
                               "Move what a storage server holds to others, and wait until it is "
                               "safe to stop it. Interrupted, it goes on by itself.",
                               options);
  drain->add_option("node", options->id, "The node's id (sheaf node list)")->required();
  drain
      ->add_option("--timeout", options->timeout_s,
                   "Seconds without an answer of the metadata service until waiting is given up; "
                   "draining goes on")
      ->capture_default_str();
  drain->add_flag("--undo", options->undo, "Let it take part again; what was moved stays moved");
  return drain;
}

CLI::App* AddReplace(CLI::App& parent, const std::shared_ptr<MembershipOptions>& options) {
  CLI::App* replace = AddCommand(parent, "replace",
                                 "Put a target in the place of one that is gone, or whose node is "
                                 "being drained, in all of its chains.",
                                 options);
  replace->add_option("old", options->id, "The target to be replaced (sheaf target list)")
      ->required();
  replace->add_option("new", options->target, "The target to take its place")->required();
  replace->add_flag("--accept-loss", options->accept_loss,
                    "Also where the old one holds a chain's data and nobody serves the chain; where no "
                    "other holds it, the chain then waits for `sheaf chain reset`");
  return replace;
}

CLI::App* AddReset(CLI::App& parent, const std::shared_ptr<MembershipOptions>& options) {
  CLI::App* reset = AddCommand(parent, "reset",
                               "Let a chain whose data no replica holds go on with what one of its "
                               "targets holds. What is missing there reads as zeros.",
                               options);
  reset->add_option("chain", options->id, "The chain's id (sheaf chain list)")->required();
  reset->add_option("--from", options->target, "The target whose bytes are to count")->required();
  reset->add_flag("--accept-loss", options->accept_loss, "All other bytes are given up")
      ->required();
  return reset;
}

Status DrainNode(const MembershipOptions& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClusterCalls calls(meta);
  ASSIGN_OR_RETURN(uint32_t left, calls.DrainNode(options.id, options.undo, kTimeout));
  const std::string node = "node " + std::to_string(options.id);
  if (options.undo) {
    Print(options, {{"node", options.id}, {"draining", false}, {"chains_left", left}},
          node + " is a member of " + Chains(left) + "; it is not drained");
    return Status::Ok();
  }
  RETURN_IF_ERROR(AwaitDrained(calls, options));
  Print(options, {{"node", options.id}, {"draining", true}, {"chains_left", 0}},
        node + " holds no chain; it is safe to stop it");
  return Status::Ok();
}

Status ReplaceTarget(const MembershipOptions& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClusterCalls calls(meta);
  ASSIGN_OR_RETURN(const uint32_t chains,
                   calls.ReplaceTarget(options.id, options.target, options.accept_loss, kTimeout));
  Print(options, {{"old", options.id}, {"new", options.target}, {"chains", chains}},
        "target " + std::to_string(options.target) + " has become a member of " + Chains(chains) +
            "; sheaf status shows how far it has caught up");
  return Status::Ok();
}

Status ResetChain(const MembershipOptions& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClusterCalls calls(meta);
  RETURN_IF_ERROR(calls.ResetChain(options.id, options.target, kTimeout));
  Print(options, {{"chain", options.id}, {"from", options.target}},
        "chain " + std::to_string(options.id) + " goes on with what target " +
            std::to_string(options.target) + " holds");
  return Status::Ok();
}

}  // namespace sheaf::cli
