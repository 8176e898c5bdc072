#include "meta/service/meta_server.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/log.h"
#include "common/process_metrics.h"
#include "common/rpc.h"
#include "common/transport/connection.h"
#include "meta/check/check_runs.h"
#include "meta/cluster/chunk_trimmer.h"
#include "meta/cluster/cluster_manager.h"
#include "meta/cluster/cluster_store.h"
#include "meta/cluster/length_prober.h"
#include "meta/cluster/membership.h"
#include "meta/cluster/reclaimer.h"
#include "meta/cluster/sessions.h"
#include "meta/cluster/truncations.h"
#include "meta/cluster/worker_pool.h"
#include "meta/kv/rocksdb_kv.h"
#include "meta/ops/executor.h"
#include "meta/service/admin_service.h"
#include "meta/service/cluster_service.h"
#include "meta/service/meta_calls.h"
#include "meta/service/meta_frames.h"
#include "meta/service/meta_service.h"

namespace sheaf::meta {
namespace {

int64_t CountMembers(const proto::Chain& chain, proto::TargetState state) {
  return std::count_if(chain.members().begin(), chain.members().end(),
                       [&](const auto& member) { return member.state() == state; });
}

enum class ChainState { kServing, kDegraded, kDown };

ChainState StateOf(const proto::Chain& chain) {
  const int64_t serving = CountMembers(chain, proto::SERVING);
  if (serving == 0) return ChainState::kDown;
  return serving >= WantedMembers(chain) ? ChainState::kServing : ChainState::kDegraded;
}

}  // namespace

// In the order things are made, and so torn down from the last to the first: background work
// before the executor, the executor before the store. Calls and metrics reach into everything:
// ~MetaServer ends them before the rest goes.
struct MetaServer::Parts {
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<StateDir> state_dir;
  std::unique_ptr<KvStore> store;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<ExecutorClusterStore> cluster_store;
  std::unique_ptr<ClusterManager> manager;
  std::unique_ptr<transport::ConnectionPool> connections;
  std::unique_ptr<FramedLengthProber> prober;
  std::unique_ptr<Sessions> sessions;
  std::unique_ptr<FramedChunkTrimmer> trimmer;
  std::unique_ptr<Reclaimer> reclaimer;
  std::unique_ptr<Truncations> truncations;
  std::unique_ptr<WorkerPool> readers;
  std::unique_ptr<CheckRuns> checks;
  std::unique_ptr<AdminService> admin_service;
  std::unique_ptr<MetaCalls> meta_calls;
  std::unique_ptr<MetaService> meta_service;
  std::unique_ptr<ClusterService> cluster_service;
  std::unique_ptr<MetaFrames> frames;  // null: none
  std::unique_ptr<RpcServer> server;

  Status OpenStore(const MetaServerOptions& options, const Clock& clock);
  Status StartCluster(const MetaServerOptions& options, const Clock& clock);
  void StartBackground(const MetaServerOptions& options, const Clock& clock);
  Status StartServices(const MetaServerOptions& options);
  Status StartFrames(const MetaServerOptions& options);
  void AddMetrics();
  void AddClusterMetrics();
  void AddChainMetrics();
};

Status MetaServer::Parts::OpenStore(const MetaServerOptions& options, const Clock& clock) {
  ASSIGN_OR_RETURN(StateDir dir,
                   StateDir::Open(options.data_dir, "meta", kStateFormat, /*create=*/true));
  state_dir = std::make_unique<StateDir>(std::move(dir));
  RocksDbKvOptions store_options;
  store_options.reserve_path = options.data_dir + "/reserve";
  store_options.reserve_bytes = options.reserve_bytes;
  store_options.log_bytes = options.log_bytes;
  store_options.clock = &clock;
  ASSIGN_OR_RETURN(store, OpenRocksDbKv(options.data_dir + "/db", store_options));
  ExecutorOptions executor_options;
  executor_options.clock = &clock;
  executor_options.commit_seconds = &metrics->AddLatency(
      "sheaf_meta_commit_seconds", "One synced write of a group of mutations to the store");
  ASSIGN_OR_RETURN(executor, Executor::Open(*store, executor_options));
  return Status::Ok();
}

Status MetaServer::Parts::StartCluster(const MetaServerOptions& options, const Clock& clock) {
  cluster_store = std::make_unique<ExecutorClusterStore>(*executor);
  ClusterManagerOptions manager_options;
  manager_options.leases = {.heartbeat = options.heartbeat, .lease = options.lease};
  manager_options.cluster_uuid = state_dir->uuid();
  ASSIGN_OR_RETURN(manager, ClusterManager::Open(*cluster_store, clock, manager_options));
  connections = std::make_unique<transport::ConnectionPool>(transport::ConnectionPool::Options());
  prober = std::make_unique<FramedLengthProber>(*connections, [this] { return manager->Map(); });
  SessionOptions session_options;
  session_options.renew = options.session_renew;
  session_options.lease = options.session_lease;
  session_options.cluster_uuid = manager->Map()->cluster_uuid();
  ASSIGN_OR_RETURN(sessions,
                   Sessions::Load({*executor, *manager, *prober, clock}, session_options));
  return Status::Ok();
}

void MetaServer::Parts::StartBackground(const MetaServerOptions& options, const Clock& clock) {
  trimmer = std::make_unique<FramedChunkTrimmer>(
      *connections, [this] { return manager->Map(); },
      [this] { return sessions->ServiceIdentity(); });
  ReclaimerOptions reclaimer_options;
  reclaimer_options.interval = options.reclaim_interval;
  reclaimer = std::make_unique<Reclaimer>(
      *executor, *trimmer, clock,
      [this](RemovalEpoch epoch, const Removal& removal) {
        return sessions->MayReclaim(epoch, removal);
      },
      reclaimer_options);
  truncations = std::make_unique<Truncations>(*executor, *trimmer, TruncationOptions());
  readers = std::make_unique<WorkerPool>(options.reader_threads, options.max_waiting_reads);
  checks = std::make_unique<CheckRuns>(*executor, clock, CheckRuns::Options());
}

Status MetaServer::Parts::StartServices(const MetaServerOptions& options) {
  auto space = [this] {
    const ManagerState::Space total = manager->TotalSpace();
    return SpaceTotals{
        .total_bytes = total.total_bytes,
        .free_bytes = total.total_bytes - std::min(total.used_bytes, total.total_bytes)};
  };
  meta_calls = std::make_unique<MetaCalls>(
      MetaCalls::Parts{*executor, *readers, *truncations, space, *metrics});
  meta_service = std::make_unique<MetaService>(*meta_calls);
  cluster_service = std::make_unique<ClusterService>(
      ClusterService::Parts{*manager, *sessions, *executor, *readers, *metrics});
  admin_service = std::make_unique<AdminService>(*checks, *manager, *metrics);
  RETURN_IF_ERROR(StartFrames(options));
  AddMetrics();
  if (!options.metrics.empty()) RETURN_IF_ERROR(metrics->Serve(options.metrics));
  ASSIGN_OR_RETURN(server, RpcServer::Start({.listen = options.listen,
                                             .services = {meta_service.get(), cluster_service.get(),
                                                          admin_service.get()}}));
  cluster_service->SetAddress(server->address());
  return Status::Ok();
}

Status MetaServer::Parts::StartFrames(const MetaServerOptions& options) {
  transport::Server::Options frames_options;
  if (!options.framed.empty()) {
    ASSIGN_OR_RETURN(Address tcp, Address::Parse(options.framed));
    frames_options.listen.push_back(std::move(tcp));
  }
  if (!options.unix_path.empty()) {
    frames_options.listen.push_back(Address{.unix_path = options.unix_path});
  }
  if (frames_options.listen.empty()) return Status::Ok();
  frames_options.threads = static_cast<int>(options.reader_threads);
  ASSIGN_OR_RETURN(frames, MetaFrames::Start(*meta_calls, frames_options));
  proto::MetaFrames told;
  told.set_boot_id(BootId());
  for (const Address& address : frames->server().addresses()) {
    if (address.IsUnix()) {
      told.set_unix_path(address.unix_path);
    } else {
      told.set_port(address.port);
    }
  }
  cluster_service->SetFrames(std::move(told));
  return Status::Ok();
}

void MetaServer::Parts::AddMetrics() {
  auto add = [this](const char* name, const char* help, std::function<double()> value) {
    metrics->AddCallback(name, help, {}, std::move(value));
  };
  AddProcessMetrics(*metrics);
  add("sheaf_meta_executor_queue_length", "Mutations waiting for the executor",
      [this] { return static_cast<double>(executor->Stats().queued); });
  add("sheaf_meta_executor_operations_total", "Mutations executed",
      [this] { return static_cast<double>(executor->Stats().operations); });
  add("sheaf_meta_executor_groups_total", "Groups of mutations committed",
      [this] { return static_cast<double>(executor->Stats().groups); });
  add("sheaf_meta_executor_lent_turns_total",
      "Groups that the thread that received their first mutation committed",
      [this] { return static_cast<double>(executor->Stats().lent_turns); });
  add("sheaf_meta_executor_retries_total", "Mutations answered from a stored result",
      [this] { return static_cast<double>(executor->Stats().retries); });
  add("sheaf_meta_executor_refused_total", "Mutations refused because the queue was full",
      [this] { return static_cast<double>(executor->Stats().refused); });
  add("sheaf_meta_commit_errors_total", "Groups that the store refused",
      [this] { return static_cast<double>(executor->Stats().commit_failures); });
  add("sheaf_meta_store_recoveries_total",
      "Times the store was opened anew after its disk was full",
      [this] { return static_cast<double>(executor->Stats().recoveries); });
  add("sheaf_meta_space_short", "1 while the disk is full and only removals are taken",
      [this] { return executor->Stats().space_short ? 1.0 : 0.0; });
  add("sheaf_meta_read_queue_length", "Reads waiting for a thread",
      [this] { return static_cast<double>(readers->Queued()); });
  add("sheaf_meta_reads_refused_total", "Reads refused because the queue was full",
      [this] { return static_cast<double>(readers->refused()); });
  add("sheaf_meta_removal_backlog", "Entries of the removal queue at the last walk",
      [this] { return static_cast<double>(reclaimer->backlog()); });
  add("sheaf_meta_removals_reclaimed_total", "Removals whose chunks and rows are gone",
      [this] { return static_cast<double>(reclaimer->reclaimed()); });
  add("sheaf_meta_removal_errors_total", "Attempts to reclaim that failed",
      [this] { return static_cast<double>(reclaimer->failures()); });
  add("sheaf_meta_truncates_pending", "Files whose cut tail is not trimmed yet",
      [this] { return static_cast<double>(truncations->pending()); });
  add("sheaf_meta_truncate_queue_length", "Truncations waiting for a thread",
      [this] { return static_cast<double>(truncations->queued()); });
  add("sheaf_meta_truncates_refused_total", "Truncations refused because the queue was full",
      [this] { return static_cast<double>(truncations->refused()); });
  add("sheaf_meta_sessions", "Live client sessions",
      [this] { return static_cast<double>(sessions->Count()); });
  add("sheaf_meta_sessions_ending", "Sessions that are over and not forgotten yet",
      [this] { return static_cast<double>(sessions->Ending()); });
  add("sheaf_meta_sessions_unsettled",
      "Sessions that are over with files whose length could not be settled yet",
      [this] { return static_cast<double>(sessions->Unsettled()); });
  add("sheaf_meta_sessions_expired_total", "Client sessions that ended without a word",
      [this] { return static_cast<double>(sessions->expired()); });
  add("sheaf_meta_store_cache_bytes", "Block cache of the metadata store in use",
      [this] { return static_cast<double>(store->Stats().cache_bytes); });
  add("sheaf_meta_store_memtable_bytes", "Written to the metadata store and not in its files yet",
      [this] { return static_cast<double>(store->Stats().memtable_bytes); });
  add("sheaf_meta_store_file_bytes", "Files of the metadata store",
      [this] { return static_cast<double>(store->Stats().file_bytes); });
  if (frames != nullptr) {
    add("sheaf_meta_connections", "Framed connections of clients",
        [this] { return static_cast<double>(frames->server().stats().connections); });
    add("sheaf_meta_connections_refused_total", "Framed connections closed as one too many",
        [this] { return static_cast<double>(frames->server().stats().refused_connections); });
    add("sheaf_meta_framed_requests", "Framed requests under way",
        [this] { return static_cast<double>(frames->server().stats().under_way); });
  }
  AddClusterMetrics();
}

// What the cluster map says. It is immutable: a scrape looks at it without holding anything up.
void MetaServer::Parts::AddClusterMetrics() {
  metrics->AddCallback("sheaf_meta_map_version", "Version of the cluster map", {},
                       [this] { return static_cast<double>(manager->Map()->version()); });
  metrics->AddCallback("sheaf_meta_map_watchers", "Storage servers that follow the cluster map", {},
                       [this] { return static_cast<double>(manager->Watchers()); });
  metrics->AddCallback("sheaf_meta_manager_queue_length",
                       "Registrations and chain creations waiting for the manager", {},
                       [this] { return static_cast<double>(manager->Queued()); });
  metrics->AddCallback("sheaf_meta_raw_used_bytes", "Used on all targets", {},
                       [this] { return static_cast<double>(manager->TotalSpace().used_bytes); });
  metrics->AddCallback("sheaf_meta_raw_total_bytes", "Size of all targets", {},
                       [this] { return static_cast<double>(manager->TotalSpace().total_bytes); });
  for (const auto& [state, name] : {std::pair(proto::NODE_UP, "up"),
                                    {proto::NODE_DOWN, "down"},
                                    {proto::NODE_DRAINING, "draining"}}) {
    metrics->AddCallback("sheaf_meta_nodes", "Storage servers in this state", {{"state", name}},
                         [this, state = state] {
                           const auto map = manager->Map();
                           return static_cast<double>(std::count_if(
                               map->nodes().begin(), map->nodes().end(),
                               [&](const proto::Node& node) { return node.state() == state; }));
                         });
  }
  AddChainMetrics();
}

void MetaServer::Parts::AddChainMetrics() {
  for (const auto& [state, name] : {std::pair(ChainState::kServing, "serving"),
                                    {ChainState::kDegraded, "degraded"},
                                    {ChainState::kDown, "down"}}) {
    metrics->AddCallback("sheaf_meta_chains",
                         "Chains that serve with all members, with some, and with none",
                         {{"state", name}}, [this, state = state] {
                           const auto map = manager->Map();
                           return static_cast<double>(std::count_if(
                               map->chains().begin(), map->chains().end(),
                               [&](const proto::Chain& chain) { return StateOf(chain) == state; }));
                         });
  }
  for (const auto& [state, name] : {std::pair(proto::SERVING, "serving"),
                                    {proto::SYNCING, "syncing"},
                                    {proto::WAITING, "waiting"},
                                    {proto::LAST_SERVING, "lastserving"},
                                    {proto::OFFLINE, "offline"}}) {
    metrics->AddCallback("sheaf_meta_chain_members", "Members of chains in this state",
                         {{"state", name}}, [this, state = state] {
                           int64_t count = 0;
                           const auto map = manager->Map();
                           for (const proto::Chain& chain : map->chains()) {
                             count += CountMembers(chain, state);
                           }
                           return static_cast<double>(count);
                         });
  }
  metrics->AddCallback("sheaf_meta_resync_chunks_left",
                       "Chunks still to be compared until every chain has all its replicas", {},
                       [this] { return static_cast<double>(manager->Resync().chunks_left()); });
}

Result<std::unique_ptr<MetaServer>> MetaServer::Start(const MetaServerOptions& options,
                                                      const Clock& clock) {
  auto parts = std::make_unique<Parts>();
  parts->metrics = std::make_unique<Metrics>();
  std::unique_ptr<MetaServer> server(new MetaServer(std::move(parts)));
  RETURN_IF_ERROR(server->parts_->OpenStore(options, clock));
  RETURN_IF_ERROR(server->parts_->StartCluster(options, clock));
  server->parts_->StartBackground(options, clock);
  RETURN_IF_ERROR(server->parts_->StartServices(options));
  LogInfo("serving cluster {} on {}, data in {}", server->cluster_uuid(), server->address(),
          options.data_dir);
  return server;
}

MetaServer::MetaServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

MetaServer::~MetaServer() {
  if (parts_->cluster_service != nullptr) parts_->cluster_service->EndWatches();
  if (parts_->sessions != nullptr) parts_->sessions->Stop();
  parts_->server.reset();  // every call is answered
  parts_->frames.reset();
  parts_->metrics->StopServing();  // nobody asks any more; the parts count to their end
}

const std::string& MetaServer::address() const { return parts_->server->address(); }

const std::string& MetaServer::cluster_uuid() const { return parts_->state_dir->uuid(); }

}  // namespace sheaf::meta
