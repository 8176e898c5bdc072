#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tests/sim/sim_replica.h"
#include "tests/sim/world.h"

namespace sheaf::sim {

// A client with a session: each of its streams carries one mutation at a time and repeats it, over
// changes of head, until it is answered or given up; beside them it reads anywhere.
class SimClient {
 public:
  SimClient(World& world, Actor& actor, uint32_t id);

  Actor& actor() { return actor_; }
  Incarnation session() const { return session_; }
  // Nothing of it is under way; once the world is calm it begins nothing.
  bool idle() const;

 private:
  struct Stream {
    uint32_t number = 0;
    uint64_t sequence = 0;
    bool busy = false;
  };
  // One mutation, through all its attempts.
  struct Mutation {
    MutateRequest request;
    std::vector<size_t> operations;  // in the history
    Incarnation session;
    size_t stream = 0;
    uint32_t attempts = 0;
    uint32_t patience = 0;  // attempts before it is given up
    bool done = false;
  };
  using MutationRef = std::shared_ptr<Mutation>;
  struct Reading {
    size_t operation = 0;
    ReadRequest request;
    uint32_t attempts = 0;
  };
  using ReadingRef = std::shared_ptr<Reading>;

  void After(Time delay, Action action);
  Time Think();
  const proto::Chain* FindChain(uint32_t chain) const;
  void RefreshMap(Action then);

  void NextMutation(size_t stream);
  MutationRef DrawMutation(size_t stream);
  size_t AddOperation(const Mutation& mutation, ChunkId chunk);
  void AddRepetition(const Mutation& mutation);
  void Send(const MutationRef& mutation);
  void OnAnswer(const MutationRef& mutation, const Result<MutateAnswer>& answer);
  void End(const MutationRef& mutation, Operation::Outcome outcome);
  // One more copy that nobody waits for, by the newest map, some time later.
  void SendLateCopy(const MutationRef& mutation);
  void StartSession();

  void NextRead();
  void SendRead(const ReadingRef& reading);
  void OnRead(const ReadingRef& reading, const Result<Image>& answer);

  World& world_;
  Actor& actor_;
  const uint32_t id_;
  Random random_;
  const bool zombie_;
  Incarnation session_;
  MapRef map_;
  std::vector<Stream> streams_;
  bool reading_ = false;
};

}  // namespace sheaf::sim
