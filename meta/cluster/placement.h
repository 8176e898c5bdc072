#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"

namespace sheaf::meta {

inline constexpr uint32_t kMaxReplicas = 8;
inline constexpr uint32_t kMaxChainsPerTarget = 1024;
inline constexpr uint32_t kMaxChains = 65536;

struct PlacementTarget {
  TargetId target;
  NodeId node;
  std::string failure_domain;  // empty: the node stands for itself
};

// The members of each chain, head first. Pure and deterministic: the same targets in any order
// give the same table.
//
// The table is interleaved: chain i's head is on target i mod T, where targets are ordered so that
// neighbours are on different nodes as far as possible; a file's consecutive chunks thus fall on
// different disks. Further members are chosen so that no two members share a node or a named
// failure domain, every target holds equally many chains (within one), and each node shares its
// chains with the others as evenly as greed allows, so that the work of a lost one spreads.
//
// REQUIRES: the targets of one node name the same failure domain.
// There are targets * chains_per_target / replicas chains, rounded up. kInvalid names a number out
// of range, or the count of nodes or domains when it is below `replicas`.
Result<std::vector<std::vector<TargetId>>> PlaceChains(std::vector<PlacementTarget> targets,
                                                       uint32_t replicas,
                                                       uint32_t chains_per_target);

// Whatever must not hold two members of one chain.
std::string DomainOf(const PlacementTarget& target);

struct SpareTarget {
  PlacementTarget target;
  uint32_t chains = 0;  // that it is a member of
  uint64_t free_bytes = 0;
};

// Which of `spares` is to become a member of a chain of `bytes` beside `members`: of those that
// have the space and share no node or domain with them, one with the fewest chains, and of these
// the one with the most space. Nothing when there is none.
std::optional<TargetId> PlaceMember(const std::vector<PlacementTarget>& members, uint64_t bytes,
                                    const std::vector<SpareTarget>& spares);

}  // namespace sheaf::meta
