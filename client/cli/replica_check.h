#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/check_source.h"
#include "common/ids.h"
#include "common/status.h"
#include "proto/admin.pb.h"

namespace sheaf::cli {

// The chunks of every member of every chain that answers reads against one another: version, version
// of the chain, length and checksum are the same on all.
//
// The cluster goes on meanwhile, and a list shows what its replica has made durable, which those
// behind it may come to have a little later. So what differs is looked at again, kLooks times with
// a pause between, and told only when each look shows a difference, and either
//  - no replica has changed the chunk all the while, or
//  - each look shows one version with different bytes.
// A chain that changes meanwhile is begun anew with its members of then. Not thread-safe.
class ReplicaCheck {
 public:
  static constexpr int kLooks = 7;
  static constexpr size_t kMaxSuspects = 4096;  // of a chain; the next run finds the rest

  using Tell = std::function<Status(const proto::Finding& finding)>;
  // Waits a moment.
  using Pause = std::function<void()>;

  // `source` outlives this.
  ReplicaCheck(CheckSource& source, Tell tell, Pause pause, uint32_t page = 4096)
      : source_(source), tell_(std::move(tell)), pause_(std::move(pause)), page_(page) {}

  Status Run();

 private:
  struct Facts {
    uint64_t version = 0;  // 0: it has none
    uint32_t chain_version = 0;
    uint32_t length = 0;
    uint32_t checksum = 0;
    friend bool operator==(const Facts&, const Facts&) = default;
  };
  using Look = std::vector<Facts>;  // by member
  struct Suspect {
    Look first;
    Look last;
    bool unchanged = true;
    bool other_bytes = true;  // in each look
  };
  struct Members {
    uint32_t chain = 0;
    std::vector<uint32_t> targets;
  };
  // What one member has listed and nobody has compared yet.
  struct Listed {
    std::map<ChunkId, Facts> chunks;
    std::optional<ChunkId> after;
    bool end = false;
  };

  static Facts FactsOf(const proto::ChunkInfo& chunk);
  static bool Differ(const Look& look);
  static bool OtherBytes(const Look& look);
  // The one that differs while all others, two at least, agree.
  static std::optional<size_t> OddOne(const Look& look);
  Result<Members> MembersOf(uint32_t chain);
  Status CheckChain(const Members& members);
  Status Fill(const Members& members, size_t member, Listed& listed);
  void Compare(std::vector<Listed>& lists);
  Status LookAgain(const Members& members);
  Status TellSuspects(const Members& members);

  CheckSource& source_;
  const Tell tell_;
  const Pause pause_;
  const uint32_t page_;
  std::map<ChunkId, Suspect> suspects_;  // of the chain
};

}  // namespace sheaf::cli
