#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/layout.h"
#include "common/status.h"
#include "common/transport/connection.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

using MapSource = std::function<std::shared_ptr<const proto::ClusterMap>()>;

// Calls over the framed transport to the heads of chains, by the cluster map of the moment it is
// made; for one piece of work. A call whose chain moves on meanwhile is given up with kWrongChain,
// for the work to be begun anew: a head that hangs would hold it to its deadline. Not thread-safe.
class ChainCalls {
 public:
  // At most so many are under way together.
  static constexpr size_t kMaxCalls = 1024;

  // Between looks for a newer map, while calls are under way.
  static constexpr std::chrono::milliseconds kMapPoll{50};

  // `pool` outlives this.
  ChainCalls(transport::ConnectionPool& pool, MapSource source);

  // The chains of a layout's stripe in the order of its chunks: chunk i is on element i modulo
  // their number. kCorrupt when its chain table does not exist.
  Result<std::vector<uint32_t>> Stripe(const Layout& layout) const;

  // A request to a chain, with its id and version.
  template <typename Request>
  Request To(uint32_t chain) const {
    Request request;
    request.mutable_ctx()->set_chain_id(chain);
    request.mutable_ctx()->set_chain_version(VersionOf(chain));
    return request;
  }

  struct Call {
    uint32_t chain = 0;
    transport::Method method = transport::Method::kNone;
    std::string message;
  };
  // One serialised response or error a call, all of them by `deadline`. Blocks.
  // REQUIRES: at most kMaxCalls.
  std::vector<Result<std::string>> Run(std::vector<Call> calls, Clock::Instant deadline);

 private:
  struct Head {
    uint32_t chain_version = 0;
    std::string address;
    Status status;  // why the chain cannot be asked
  };
  class Round;

  using ConnectionRef = std::shared_ptr<transport::Connection>;

  Head HeadOf(const proto::Chain& chain) const;
  uint32_t VersionOf(uint32_t chain) const;
  Result<ConnectionRef> ConnectionTo(uint32_t chain);
  void GiveUpStale(const std::vector<Call>& calls, const std::vector<ConnectionRef>& connections,
                   Round& round) const;

  transport::ConnectionPool& pool_;
  const MapSource source_;
  const std::shared_ptr<const proto::ClusterMap> map_;
  std::unordered_map<uint32_t, uint32_t> node_of_target_;
  std::unordered_map<uint32_t, const proto::Node*> nodes_;
  std::unordered_map<uint32_t, Head> heads_;
  std::unordered_map<uint32_t, const proto::ChainTable*> tables_;
};

}  // namespace sheaf::meta
