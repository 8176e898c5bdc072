#include "storage/replica/link_watch.h"

namespace sheaf::storage {

void LinkWatch::SetNeighbours(const std::set<NodeId>& nodes) {
  std::erase_if(neighbours_, [&](const auto& entry) { return !nodes.contains(entry.first); });
  for (NodeId node : nodes) neighbours_.try_emplace(node);
}

std::vector<NodeId> LinkWatch::BeginRound() {
  std::vector<NodeId> asked;
  for (auto& [node, is] : neighbours_) {
    if (is.asked) {
      is.missed = is.answered ? 0 : is.missed + 1;
      is.heard_in = is.answered ? is.heard_in + 1 : 0;
      if (is.missed >= kMissedMax) is.out_of_reach = true;
      if (is.heard_in >= kAnsweredMin) is.out_of_reach = false;
    }
    is.asked = true;
    is.answered = false;
    asked.push_back(node);
  }
  return asked;
}

void LinkWatch::OnAnswer(NodeId node) {
  const auto found = neighbours_.find(node);
  if (found != neighbours_.end()) found->second.answered = true;
}

std::vector<NodeId> LinkWatch::OutOfReach() const {
  std::vector<NodeId> nodes;
  for (const auto& [node, is] : neighbours_) {
    if (is.out_of_reach) nodes.push_back(node);
  }
  return nodes;
}

}  // namespace sheaf::storage
