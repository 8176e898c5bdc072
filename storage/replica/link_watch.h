#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "common/ids.h"

namespace sheaf::storage {

// Which neighbours answer this node: those that share a chain with it. Rounds and answers in, who
// is out of reach out. No I/O, no clock: whoever drives it begins a round now and then and asks
// those it is told to.
//
// A neighbour is out of reach once it has answered nothing in kMissedMax rounds in a row, and
// within reach again after kAnsweredMin rounds in a row with an answer. Rounds are counted rather
// than time, so that a process that was stopped does not blame others for what it slept through.
//
// Not thread-safe.
class LinkWatch {
 public:
  static constexpr uint32_t kMissedMax = 4;
  static constexpr uint32_t kAnsweredMin = 3;

  // Who is new counts as within reach; who is no neighbour any more is forgotten.
  void SetNeighbours(const std::set<NodeId>& nodes);
  // The round before is over. Whom to ask in this one.
  std::vector<NodeId> BeginRound();
  void OnAnswer(NodeId node);
  std::vector<NodeId> OutOfReach() const;

 private:
  struct Neighbour {
    bool asked = false;  // in some round
    bool answered = false;
    uint32_t missed = 0;    // rounds in a row
    uint32_t heard_in = 0;  // rounds in a row
    bool out_of_reach = false;
  };
  std::map<NodeId, Neighbour> neighbours_;
};

}  // namespace sheaf::storage
