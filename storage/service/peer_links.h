#pragma once

#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "common/address.h"
#include "common/ids.h"
#include "common/transport/connection.h"
#include "proto/cluster.pb.h"
#include "storage/replica/peers.h"

namespace sheaf::storage {

// Framed connections to the nodes that share a chain with this one, one for each hop
// (transport::kMaxHop), so that a change which waits for room there holds back none that has come
// further. They are made when first wanted and again when they broke.
//
// Threads: one connects (which blocks), one ends the calls that could not be begun and ticks.
//
// Invariants:
// 1. Changes to one target go out on one connection, in the order in which they were begun, and so
//    does what is sent ahead of them; a call that finds no connection is not kept for later, it
//    fails.
// 2. What changes wait for does not wait for them: they are answered when they are committed, and may
//    take all the credits of their connection until then, so everything else has one of its own.
//
// Thread-safe.
class PeerLinks final : public Peers {
 public:
  struct Options {
    std::chrono::milliseconds tick{50};
    std::function<void()> on_tick;
    // Servers with this boot id are on this machine. They are reached by their Unix sockets where that
    // works, and sent no stages: a hop on one machine keeps two processors busy by itself, and nothing
    // is won by two hops at once. Empty: all count as elsewhere.
    std::string boot_id;
    // A server that has the number of this process is in another container, and has not this one's
    // socket.
    int64_t own_pid = ::getpid();
  };
  explicit PeerLinks(Options options);
  // As Stop.
  ~PeerLinks() override;

  // The thread begins to call on_tick.
  void StartTicking();
  // Where targets are by now.
  void Update(const proto::ClusterMap& map);
  void Call(TargetId to, transport::Call call, transport::Done done) override;
  bool TakesStages(TargetId to) override;
  // Calls under way end with an error; later ones fail, which those who wait for them are told until
  // Stop.
  void EndCalls();
  // As EndCalls. REQUIRES: nobody waits for calls that are yet to begin.
  void Stop();

 private:
  // Two a hop, and one for signs of life, which wait behind nothing.
  static constexpr size_t kLanes = 2 * (transport::kMaxHop + 1) + 1;
  struct Way {
    Address address;
    std::optional<Address> here;  // its socket, where it is on this machine
    int64_t pid = 0;
  };
  struct Node {
    Way way;
    bool takes_stages = true;
    std::array<std::shared_ptr<transport::Connection>, kLanes> connections;
  };
  using Wanted = std::pair<uint32_t, uint32_t>;  // node, lane
  struct Failed {
    transport::Done done;
    Status status;
  };

  static uint32_t LaneOf(const transport::Call& call);
  void Fail(transport::Done done, Status status);
  void ConnectMain();
  void TickMain();
  static Result<std::shared_ptr<transport::Connection>> Connect(const Way& way);
  void ConnectOnce(const Wanted& wanted, const Way& way);

  const Options options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_.
  std::map<uint32_t, uint32_t> node_of_;  // by target
  std::map<uint32_t, Node> nodes_;
  std::set<Wanted> wanted_;  // to be connected
  std::deque<Failed> failed_;
  bool ticking_ = false;
  bool stopping_ = false;  // no calls any more
  bool stopped_ = false;   // and nobody to be told
  std::thread connect_thread_;
  std::thread tick_thread_;
};

}  // namespace sheaf::storage
