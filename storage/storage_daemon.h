#pragma once

#include <memory>
#include <vector>

#include "common/metrics.h"
#include "common/rpc.h"
#include "common/state_dir.h"
#include "storage/engine/engine.h"
#include "storage/replica/replica_set.h"
#include "storage/service/data_frames.h"
#include "storage/service/data_grpc.h"
#include "storage/service/data_handler.h"
#include "storage/service/link_probes.h"
#include "storage/service/manager_link.h"
#include "storage/service/node_identity.h"
#include "storage/service/peer_links.h"
#include "storage/service/reactor_set.h"
#include "storage/service/scrub_grpc.h"
#include "storage/service/storage_config.h"

namespace sheaf::storage {

// A whole storage server: the wiring of its parts.
//
// Teardown (the destructor says it step by step): no new lease, the replicas answer who waits and
// the links to neighbours, resyncs and repairs end, both planes stop, metrics and scrubs stop, the
// engines finish what is under way, and last go the reactors that carried it.
class StorageDaemon {
 public:
  // Everything listens when it returns; serving begins once the manager has answered.
  static Result<std::unique_ptr<StorageDaemon>> Start(const StorageConfig& config);
  ~StorageDaemon();

  const proto::NodeAddresses& addresses() const { return addresses_; }

 private:
  StorageDaemon() = default;
  Status OpenTargets(const StorageConfig& config);
  Status StartReactors(const StorageConfig& config);
  Status OpenEngines(const StorageConfig& config);
  Status Listen(const StorageConfig& config);
  Status Serve(const StorageConfig& config);
  void StartScrubbing(const StorageConfig& config);
  void AddMetrics();
  void AddTargetMetrics(Engine& engine, const std::string& uuid);
  void LinkToManager(const StorageConfig& config);

  std::vector<StateDir> state_dirs_;  // held to the end: nobody else may open them
  NodeIdentity identity_;
  proto::NodeAddresses addresses_;
  std::vector<UniqueFd> listeners_;
  std::unique_ptr<Metrics> metrics_ = std::make_unique<Metrics>();  // all below count in it
  std::unique_ptr<ServiceMetrics> grpc_metrics_;
  std::shared_ptr<FileTable> files_ = std::make_shared<FileTable>();
  std::unique_ptr<ReactorSet> reactors_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::unique_ptr<PeerLinks> peers_;
  std::unique_ptr<LinkProbes> probes_;
  std::unique_ptr<ResyncMover> mover_;
  std::unique_ptr<Repairer> repairer_;
  std::unique_ptr<ReplicaSet> replicas_;
  std::vector<std::unique_ptr<Scrubber>> scrubbers_;  // one a target
  std::unique_ptr<ScrubGrpc> scrub_service_;
  std::unique_ptr<DataHandler> data_;
  std::unique_ptr<DataFrames> frames_;
  std::unique_ptr<DataGrpc> grpc_service_;
  std::unique_ptr<RpcServer> grpc_server_;
  std::unique_ptr<ManagerLink> link_;
};

}  // namespace sheaf::storage
