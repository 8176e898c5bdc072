#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "meta/cluster/manager_state.h"
#include "tests/sim/world.h"

namespace sheaf::sim {

inline constexpr Time kHeartbeat = 100 * kMillisecond;
inline constexpr Time kLease = 400 * kMillisecond;

// meta::ManagerState with the driver that meta/cluster/cluster_manager.h is: one change at a time,
// durable before it is true, true before it is told. Sessions are kept here, durably.
class SimManager {
 public:
  SimManager(World& world, Actor& actor, proto::ClusterMap first);

  Actor& actor() { return actor_; }
  void Kill();
  void Boot();

  // ---- as asked by nodes and clients ----
  void OnRegister(const proto::RegisterNodeRequest& request,
                  const Network::Responder<proto::RegisterNodeResponse>& reply);
  void OnHeartbeat(const proto::HeartbeatRequest& request,
                   const Network::Responder<proto::HeartbeatResponse>& reply);
  void OnGetMap(uint64_t known, const Network::Responder<MapRef>& reply);
  // By an operator; one that is refused changes nothing.
  void Drain(uint32_t node, bool undo);
  void Replace(uint32_t from, uint32_t to);
  Incarnation OpenSession();
  void EndSession(Incarnation session);

  // The map as it is durable.
  const proto::ClusterMap& durable() const { return durable_; }
  const MapRef& map() const { return map_; }
  // Whether the node's process was heard in the time of a heartbeat or two.
  bool HeardLately(uint32_t node, const std::string& process) const;
  // When each ended session was fenced everywhere.
  const std::map<Incarnation, Time>& fenced() const { return fenced_; }
  const std::set<Incarnation>& ended() const { return ended_; }

 private:
  using Then = std::function<void()>;

  Clock::Instant LocalNow() const;
  void Tick();
  void Next();
  void Settle();
  void TryRegister(const proto::RegisterNodeRequest& request,
                   const Network::Responder<proto::RegisterNodeResponse>& reply, Time until);
  void Commit(const proto::ClusterMap& change, Then then);
  using Plan = std::function<Result<std::optional<proto::ClusterMap>>()>;
  void Change(const std::string& what, Plan plan);
  void Publish();
  void NoteFenced();

  World& world_;
  Actor& actor_;
  Random random_;
  proto::ClusterMap durable_;
  std::set<Incarnation> live_;
  uint64_t next_session_ = 1;

  // Of this life.
  std::unique_ptr<meta::ManagerState> state_;
  MapRef map_;
  std::deque<Then> queue_;
  std::vector<Then> held_;  // registrations, until the next tick
  bool busy_ = false;
  bool fence_asked_ = false;

  struct Heard {
    std::string process;
    Time at = 0;
  };
  std::map<uint32_t, Heard> heard_;  // by node
  std::map<Incarnation, Time> fenced_;
  std::set<Incarnation> ended_;
};

}  // namespace sheaf::sim
