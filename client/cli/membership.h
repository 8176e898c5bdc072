#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "proto/cluster.pb.h"

namespace sheaf::cli {

// `sheaf node drain`, `sheaf target replace`, `sheaf chain reset`: who holds which chain.

struct MembershipOptions {
  std::string meta;
  bool json = false;
  uint32_t id = 0;      // of the node, target or chain that is changed
  uint32_t target = 0;  // the new target; the one whose bytes are to count
  bool undo = false;
  uint32_t timeout_s = 60;  // that the metadata service may be away
  bool accept_loss = false;
};

// Each declares the command with its options on `parent`.
CLI::App* AddDrain(CLI::App& parent, const std::shared_ptr<MembershipOptions>& options);
CLI::App* AddReplace(CLI::App& parent, const std::shared_ptr<MembershipOptions>& options);
CLI::App* AddReset(CLI::App& parent, const std::shared_ptr<MembershipOptions>& options);

// Returns once the node is a member of no chain; shows how many are left meanwhile. kDeadline: the
// metadata service was away for too long.
Status DrainNode(const MembershipOptions& options);
Status ReplaceTarget(const MembershipOptions& options);
Status ResetChain(const MembershipOptions& options);

// Chains with a member on the node.
uint32_t ChainsLeft(const proto::ClusterMap& map, uint32_t node);

}  // namespace sheaf::cli
