#include "storage/storage_daemon.h"

#include <utility>

#include "common/address.h"
#include "common/log.h"
#include "common/process_metrics.h"
#include "storage/disk/slab_file_set.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kTargetFormat = 1;  // of the files beside the marker
constexpr int kBacklog = 1024;
constexpr std::chrono::seconds kStopWait{10};

// What others reach a socket by: the address it is bound to, with the host to advertise.
Result<std::string> Advertised(int fd, const Address& asked, const std::string& host) {
  ASSIGN_OR_RETURN(Address bound, BoundAddress(fd, asked));
  if (!host.empty()) bound.host = host;
  return bound.ToString();
}

std::string WithHost(const std::string& address, const std::string& host) {
  auto parsed = Address::Parse(address);
  if (host.empty() || !parsed.ok()) return address;
  parsed->host = host;
  return parsed->ToString();
}

void AddScrubMetrics(Metrics& metrics, const Metrics::Labels& labels, const Scrubber& scrubber) {
  const auto add = [&](const char* name, const char* help, auto value) {
    metrics.AddCallback(name, help, labels, [&scrubber, value] {
      return static_cast<double>(value(scrubber.GetProgress(/*with_bad=*/false)));
    });
  };
  add("sheaf_storage_scrubbed_bytes_total", "Bytes scrubbed",
      [](const Scrubber::Progress& progress) { return progress.total_bytes; });
  add("sheaf_storage_scrub_passes_total", "Scrub passes finished",
      [](const Scrubber::Progress& progress) { return progress.passes; });
  add("sheaf_storage_scrub_bad_chunks", "Chunks that could not be read when last scrubbed",
      [](const Scrubber::Progress& progress) { return progress.bad_count; });
}

}  // namespace

Result<std::unique_ptr<StorageDaemon>> StorageDaemon::Start(const StorageConfig& config) {
  std::unique_ptr<StorageDaemon> daemon(new StorageDaemon);
  // What can be wrong with the machine first, while nothing has been touched.
  RETURN_IF_ERROR(daemon->Listen(config));
  RETURN_IF_ERROR(daemon->OpenTargets(config));
  RETURN_IF_ERROR(daemon->StartReactors(config));
  RETURN_IF_ERROR(daemon->OpenEngines(config));
  daemon->StartScrubbing(config);
  daemon->AddMetrics();
  RETURN_IF_ERROR(daemon->Serve(config));
  daemon->LinkToManager(config);
  return daemon;
}

StorageDaemon::~StorageDaemon() {
  link_.reset();
  if (replicas_) replicas_->Stop();
  if (peers_) peers_->EndCalls();
  if (repairer_) repairer_->Stop();
  if (mover_) mover_->Stop();
  if (peers_) peers_->Stop();
  grpc_server_.reset();
  if (reactors_) {
    const Status stopped = reactors_->StopServing(kStopWait);
    if (!stopped.ok()) LogError("stop serving: {}", stopped.message());
  }
  metrics_->StopServing();  // its callbacks look at what goes now
  scrubbers_.clear();
  engines_.clear();
  reactors_.reset();
}

Status StorageDaemon::Listen(const StorageConfig& config) {
  ASSIGN_OR_RETURN(const Address framed, Address::Parse(config.listen));
  ASSIGN_OR_RETURN(UniqueFd socket, sheaf::Listen(framed, kBacklog));
  ASSIGN_OR_RETURN(*addresses_.mutable_framed(),
                   Advertised(socket.get(), framed, config.advertise));
  listeners_.push_back(std::move(socket));
  addresses_.set_boot_id(BootId());
  if (config.unix_path.empty()) return Status::Ok();
  ASSIGN_OR_RETURN(const Address local, Address::Parse("unix:" + config.unix_path));
  ASSIGN_OR_RETURN(UniqueFd unix_socket, sheaf::Listen(local, kBacklog));
  listeners_.push_back(std::move(unix_socket));
  addresses_.set_unix_path(config.unix_path);
  return Status::Ok();
}

Status StorageDaemon::OpenTargets(const StorageConfig& config) {
  for (const std::string& directory : config.targets) {
    ASSIGN_OR_RETURN(StateDir dir,
                     StateDir::Open(directory, "storage-target", kTargetFormat, /*create=*/true));
    state_dirs_.push_back(std::move(dir));
  }
  ASSIGN_OR_RETURN(identity_, LoadNodeIdentity(config.targets));
  return Status::Ok();
}

Status StorageDaemon::StartReactors(const StorageConfig& config) {
  ReactorSet::Options options;
  options.reactors = config.reactors;
  options.buffer_bytes = config.buffer_mib << 20;
  options.files = files_;
  options.metrics = metrics_.get();
  ASSIGN_OR_RETURN(reactors_, ReactorSet::Start(options));
  LogInfo("io_uring: {}; {} of {} MiB of buffers registered a reactor",
          reactors_->first().ring_mode(), reactors_->first().registered_bytes() >> 20,
          (config.buffer_mib / config.reactors));
  return Status::Ok();
}

Status StorageDaemon::OpenEngines(const StorageConfig& config) {
  std::vector<ReplicaSet::LocalTarget> locals;
  for (const StateDir& dir : state_dirs_) {
    Engine::Options options;
    options.index_path = dir.path() + "/index";
    options.slab_bytes = config.slab_mib << 20;
    options.capacity_bytes = config.capacity_mib << 20;
    options.commit_seconds = &metrics_->AddLatency("sheaf_storage_commit_seconds",
                                                   "The synced index write of one group of changes",
                                                   {{"target", dir.uuid()}});
    ASSIGN_OR_RETURN(options.slabs, SlabFileSet::Open(dir.path() + "/slabs", files_));
    auto engine = Engine::Open(options);
    if (!engine.ok()) return engine.status().With("open target " + dir.path());
    const Engine::Space space = (*engine)->GetSpace();
    LogInfo("target {} ({}): {} of {} bytes used", dir.path(), dir.uuid(), space.used_bytes,
            space.total_bytes);
    engines_.push_back(std::move(*engine));
    locals.push_back({dir.uuid(), engines_.back().get(), dir.path()});
  }
  PeerLinks::Options links;
  if (!config.near_stages) links.boot_id = addresses_.boot_id();
  links.on_tick = [this] {
    replicas_->Tick();
    probes_->Tick();
  };
  peers_ = std::make_unique<PeerLinks>(std::move(links));
  std::vector<std::string> uuids;
  for (const ReplicaSet::LocalTarget& target : locals) uuids.push_back(target.uuid);
  probes_ = std::make_unique<LinkProbes>(*peers_, uuids, Clock::System(), metrics_.get());
  ResyncMover::Options moving;
  moving.bytes_per_s = config.resync_mib_per_s << 20;
  mover_ = std::make_unique<ResyncMover>(*peers_, moving);
  Repairer::Options repairing;
  repairing.bytes_per_s = moving.bytes_per_s;
  repairing.on_repaired = [this](const Engine& engine, const Engine::ChunkKey& key) {
    for (size_t i = 0; i < scrubbers_.size(); ++i) {
      if (engines_[i].get() == &engine) scrubbers_[i]->Repaired(key);
    }
  };
  repairer_ = std::make_unique<Repairer>(*peers_, std::move(repairing));
  ReplicaSet::Neighbours neighbours;
  neighbours.peers = peers_.get();
  neighbours.mover = mover_.get();
  neighbours.repairer = repairer_.get();
  neighbours.home = [this]() -> IoContext& { return reactors_->Next().io(); };
  replicas_ =
      std::make_unique<ReplicaSet>(std::move(locals), Clock::System(), std::move(neighbours));
  RETURN_IF_ERROR(replicas_->LoadStreams());
  peers_->StartTicking();
  return Status::Ok();
}

void StorageDaemon::StartScrubbing(const StorageConfig& config) {
  std::vector<ScrubGrpc::Target> targets;
  for (size_t i = 0; i < engines_.size(); ++i) {
    Scrubber::Options options;
    options.target = state_dirs_[i].uuid();
    options.position_file = state_dirs_[i].path() + "/SCRUB";
    options.bytes_per_s = config.scrub_mib_per_s << 20;
    options.on_bad = [this, i](const Scrubber::BadChunk& bad) {
      replicas_->RequestRepair(i, bad.key);
    };
    scrubbers_.push_back(std::make_unique<Scrubber>(*engines_[i], reactors_->Next().io(),
                                                    Clock::System(), std::move(options)));
    targets.push_back({state_dirs_[i].uuid(), scrubbers_.back().get(), engines_[i].get()});
  }
  scrub_service_ =
      std::make_unique<ScrubGrpc>(*replicas_, std::move(targets), config.scrub_mib_per_s);
}

Status StorageDaemon::Serve(const StorageConfig& config) {
  data_ = std::make_unique<DataHandler>(
      *replicas_, DataHandler::Options{.stage_from = config.stage_from_kib << 10});
  frames_ = std::make_unique<DataFrames>(*data_);
  grpc_metrics_ = std::make_unique<ServiceMetrics>(*metrics_, "grpc");
  DataGrpc::Options grpc_options;
  grpc_options.metrics = grpc_metrics_.get();
  grpc_service_ = std::make_unique<DataGrpc>(*data_, *reactors_, grpc_options);

  RpcServer::Options server;
  server.listen = config.grpc;
  server.services = {grpc_service_.get(), scrub_service_.get()};
  ASSIGN_OR_RETURN(grpc_server_, RpcServer::Start(server));
  addresses_.set_grpc(WithHost(grpc_server_->address(), config.advertise));
  if (!config.metrics.empty()) {
    RETURN_IF_ERROR(metrics_->Serve(config.metrics));
    ASSIGN_OR_RETURN(Address metrics, Address::Parse(config.metrics));
    metrics.port = metrics_->port();
    addresses_.set_metrics(WithHost(metrics.ToString(), config.advertise));
  }
  metrics_->AddCallback("sheaf_storage_grpc_calls_under_way", "gRPC data calls begun, not answered",
                        {}, [this] { return static_cast<double>(grpc_service_->under_way()); });
  reactors_->Serve(*frames_, std::move(listeners_));
  LogInfo("listening: framed {}{}{}, grpc {}, metrics {}", addresses_.framed(),
          addresses_.unix_path().empty() ? "" : " and ", addresses_.unix_path(), addresses_.grpc(),
          addresses_.metrics());
  return Status::Ok();
}

void StorageDaemon::AddMetrics() {
  AddProcessMetrics(*metrics_);
  for (size_t i = 0; i < engines_.size(); ++i) {
    AddTargetMetrics(*engines_[i], state_dirs_[i].uuid());
    AddScrubMetrics(*metrics_, {{"target", state_dirs_[i].uuid()}}, *scrubbers_[i]);
  }
  metrics_->AddCallback("sheaf_storage_serving", "1 while the lease is valid", {},
                        [this] { return replicas_->Serving().ok() ? 1.0 : 0.0; });
  metrics_->AddCallback("sheaf_storage_repairs_total",
                        "Chunks that were damaged and repaired from another replica", {},
                        [this] { return static_cast<double>(repairer_->counts().repaired); });
  metrics_->AddCallback("sheaf_storage_repairs_failed_total",
                        "Repairs that were given up", {},
                        [this] { return static_cast<double>(repairer_->counts().failed); });
  metrics_->AddCallback("sheaf_storage_repairs_queued", "Chunks that wait to be repaired", {},
                        [this] { return static_cast<double>(repairer_->counts().queued); });
  const auto counts = [this] { return replicas_->GetCounts().streams; };
  metrics_->AddCallback("sheaf_storage_mutation_streams", "Client streams remembered", {},
                        [counts] { return static_cast<double>(counts().streams); });
  metrics_->AddCallback("sheaf_storage_mutations_repeated_total",
                        "Mutations answered without being executed again, since the start", {},
                        [counts] { return static_cast<double>(counts().repeated); });
  metrics_->AddCallback("sheaf_storage_mutations_late_total",
                        "Late duplicates refused, since the start", {},
                        [counts] { return static_cast<double>(counts().late); });
  metrics_->AddCallback("sheaf_storage_changes_uncommitted",
                        "Changes received that their chain has not committed", {}, [this] {
                          return static_cast<double>(replicas_->GetCounts().uncommitted);
                        });
  metrics_->AddCallback("sheaf_storage_replicas_differed_total",
                        "Changes after which the replica behind held something else", {}, [this] {
                          return static_cast<double>(replicas_->GetCounts().diverged);
                        });
  metrics_->AddCallback("sheaf_storage_staged_bytes_total",
                        "Bytes of large writes passed on while they were received", {}, [this] {
                          return static_cast<double>(replicas_->GetCounts().staged_bytes);
                        });
  metrics_->AddCallback("sheaf_storage_stages_lost_total",
                        "Large writes whose bytes were passed on ahead in vain", {}, [this] {
                          return static_cast<double>(replicas_->GetCounts().stages_lost);
                        });
  metrics_->AddCallback("sheaf_storage_resyncs_sent", "Chains of which this server sends a resync",
                        {},
                        [this] { return static_cast<double>(replicas_->GetCounts().resyncs); });
  metrics_->AddCallback("sheaf_storage_resync_bytes_total", "Bytes that resyncs have sent", {},
                        [this] { return static_cast<double>(mover_->total_bytes()); });
  metrics_->AddCallback(
      "sheaf_storage_lease_remaining_seconds", "Until the lease ends; below zero once it has", {},
      [this] { return std::chrono::duration<double>(replicas_->LeaseLeft()).count(); });
  metrics_->AddCallback("sheaf_storage_map_version", "Cluster map applied", {},
                        [this] { return static_cast<double>(replicas_->map_version().value()); });
}

void StorageDaemon::AddTargetMetrics(Engine& engine, const std::string& uuid) {
  const Metrics::Labels labels = {{"target", uuid}};
  auto add = [&](const char* name, const char* help, std::function<double()> value) {
    metrics_->AddCallback(name, help, labels, std::move(value));
  };
  auto add_count = [&](const char* name, const char* help, uint64_t Engine::Stats::*count) {
    add(name, help, [&engine, count] { return static_cast<double>(engine.GetStats().*count); });
  };
  add("sheaf_storage_target_used_bytes", "Bytes that chunks hold",
      [&engine] { return static_cast<double>(engine.GetSpace().used_bytes); });
  add("sheaf_storage_target_total_bytes", "Bytes the target can hold",
      [&engine] { return static_cast<double>(engine.GetSpace().total_bytes); });
  add("sheaf_storage_target_healthy", "1 while its disk works",
      [&engine] { return engine.Health().ok() ? 1.0 : 0.0; });
  add("sheaf_storage_target_damaged_entries", "Chunks set aside: their index entry is damaged",
      [&engine] { return static_cast<double>(engine.GetFaults().damaged_entries); });
  add("sheaf_storage_read_errors_total", "Reads the disk refused twice",
      [&engine] { return static_cast<double>(engine.GetFaults().read_errors); });
  using Stats = Engine::Stats;
  add_count("sheaf_storage_target_calls_under_way", "Engine calls begun, not answered",
            &Stats::calls_under_way);
  add_count("sheaf_storage_commit_queue_length", "Changes waiting for a group commit",
            &Stats::commit_queue);
  add_count("sheaf_storage_commits_total", "Group commits ended", &Stats::commit_groups);
  add_count("sheaf_storage_commit_changes_total", "Changes that group commits carried",
            &Stats::commit_changes);
  add_count("sheaf_storage_commit_errors_total", "Group commits that failed",
            &Stats::commit_errors);
  add_count("sheaf_storage_worker_queue_length", "Index look-ups and scans waiting for a thread",
            &Stats::worker_queue);
  add_count("sheaf_storage_chunk_cache_entries", "Chunk records in memory", &Stats::cached_chunks);
  add_count("sheaf_storage_chunk_cache_bytes", "Memory of those records", &Stats::cache_bytes);
  add_count("sheaf_storage_chunk_cache_hits_total", "Calls that found their record in memory",
            &Stats::cache_hits);
  add_count("sheaf_storage_chunk_cache_misses_total", "Calls that had it looked up in the index",
            &Stats::cache_misses);
  add_count("sheaf_storage_corruptions_total", "Calls that met bytes with a wrong checksum",
            &Stats::corruptions);
}

void StorageDaemon::LinkToManager(const StorageConfig& config) {
  ManagerLink::Options options;
  options.manager = config.meta;
  options.node_uuid = identity_.node_uuid;
  options.cluster_uuid = identity_.cluster_uuid;
  options.failure_domain = config.failure_domain;
  options.addresses = addresses_;
  options.metrics = metrics_.get();
  options.map_comes = [this](const proto::ClusterMap& map) {
    peers_->Update(map);
    probes_->Update(map);
  };
  options.out_of_reach = [this] { return probes_->OutOfReach(); };
  options.remember_cluster = [directories = config.targets](const std::string& cluster_uuid) {
    return RememberCluster(directories, cluster_uuid);
  };
  link_ = std::make_unique<ManagerLink>(*replicas_, options, Clock::System());
}

}  // namespace sheaf::storage
