#include "storage/service/manager_link.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "common/log.h"
#include "common/rpc.h"
#include "common/uuid.h"
#include "proto/cluster.grpc.pb.h"

namespace sheaf::storage {
namespace {

constexpr std::chrono::seconds kRepeatLog{10};
constexpr uint32_t kBeatsBehindMax = 4;      // then the map stream is taken for dead
constexpr uint32_t kBeatsWithoutLease = 10;  // for one

}  // namespace

struct ManagerLink::Stubs {
  explicit Stubs(const std::string& manager)
      : heartbeat(proto::Cluster::NewStub(MakeChannel(manager))),
        map(proto::Cluster::NewStub(MakeChannel(manager))) {}

  std::unique_ptr<proto::Cluster::Stub> heartbeat;
  std::unique_ptr<proto::Cluster::Stub> map;
  std::mutex mutex;
  grpc::ClientContext* stream = nullptr;  // under mutex; open now, for the destructor to cancel
};

class ManagerLink::Reporter {
 public:
  explicit Reporter(std::string what) : what_(std::move(what)) {}

  void Report(const Status& status) {
    const auto now = std::chrono::steady_clock::now();
    if (status.ok()) {
      if (failures_ > 0) LogInfo("{}: works again after {} failures", what_, failures_);
      failures_ = 0;
      return;
    }
    if (failures_++ > 0 && now - logged_ < kRepeatLog) return;
    logged_ = now;
    LogWarn("{}: {} (tried {} times; goes on trying)", what_, status.ToString(), failures_);
  }

  uint32_t failures() const { return failures_; }

 private:
  const std::string what_;
  uint32_t failures_ = 0;
  std::chrono::steady_clock::time_point logged_{};
};

ManagerLink::ManagerLink(ReplicaSet& replicas, const Options& options, const Clock& clock)
    : replicas_(replicas),
      options_(options),
      clock_(clock),
      stubs_(std::make_unique<Stubs>(options.manager)),
      process_(NewUuid()),
      stalls_(replicas.targets().size()) {
  if (options.metrics != nullptr) {
    heartbeats_ = &options.metrics->AddCounter("sheaf_storage_heartbeats_total",
                                               "Heartbeats to the manager that ended");
    heartbeat_errors_ = &options.metrics->AddCounter("sheaf_storage_heartbeat_errors_total",
                                                     "Heartbeats that failed");
    heartbeat_seconds_ = &options.metrics->AddLatency("sheaf_storage_heartbeat_seconds",
                                                      "One heartbeat, there and back");
  }
  heartbeat_thread_ = std::thread([this] { HeartbeatMain(); });
  map_thread_ = std::thread([this] { MapMain(); });
}

ManagerLink::~ManagerLink() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  CancelStream();
  heartbeat_thread_.join();
  map_thread_.join();
  if (registered_) SayStopping();
}

// Nobody is left that could bring a lease back.
void ManagerLink::SayStopping() {
  replicas_.DropLease();
  proto::HeartbeatRequest request = HeartbeatRequest();
  request.set_stopping(true);
  proto::HeartbeatResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options_.stop_timeout);
  const Status status = FromGrpc(stubs_->heartbeat->Heartbeat(&context, request, &response));
  if (!status.ok())
    LogInfo("manager {} was not told that this node stops: {}", options_.manager,
            status.ToString());
}

void ManagerLink::CancelStream() {
  std::lock_guard lock(stubs_->mutex);
  if (stubs_->stream) stubs_->stream->TryCancel();
}

bool ManagerLink::registered() const {
  std::lock_guard lock(mutex_);
  return registered_;
}

bool ManagerLink::Wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [this] { return stopping_; });
  return !stopping_;
}

// Doubles from retry_min to retry_max, less up to a half, so that nodes do not come in step.
std::chrono::milliseconds ManagerLink::Backoff(uint32_t failures) const {
  thread_local std::minstd_rand random{std::random_device{}()};
  const auto full =
      std::min(options_.retry_max, options_.retry_min * (1u << std::min(failures, 10u)));
  return full / 2 + std::chrono::milliseconds(random() % (full.count() / 2 + 1));
}

// ---- heartbeat thread ----

void ManagerLink::HeartbeatMain() {
  Reporter registration("register with manager " + options_.manager);
  Reporter renewal("renew lease at manager " + options_.manager);
  std::chrono::milliseconds pause{0};
  while (Wait(pause)) {
    if (!registered()) {
      const Status status = Register();
      registration.Report(status);
      pause = status.ok() ? std::chrono::milliseconds(0) : Backoff(registration.failures());
      continue;
    }
    const auto began = clock_.Now();
    const Status status = Heartbeat();
    CountHeartbeat(status, clock_.Now() - began);
    renewal.Report(status);
    if (status.code() == Code::kStale || status.code() == Code::kNotFound) {
      LogWarn("manager {} does not know this node; registering again", options_.manager);
      replicas_.DropLease();
      std::lock_guard lock(mutex_);
      registered_ = false;
    }
    // The beat is kept: what the call took comes off the pause.
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(clock_.Now() - began);
    pause = std::max(std::chrono::milliseconds(1), BeatEvery() - took);
  }
}

// Sooner while there is no lease: the manager waits for us to know a map, which is on its way.
std::chrono::milliseconds ManagerLink::BeatEvery() const {
  return leased_ ? heartbeat_every_
                 : std::max(std::chrono::milliseconds(1), heartbeat_every_ / kBeatsWithoutLease);
}

void ManagerLink::CountHeartbeat(const Status& status, Clock::Instant took) {
  if (heartbeats_ == nullptr) return;
  heartbeats_->Add();
  if (!status.ok()) heartbeat_errors_->Add();
  heartbeat_seconds_->Observe(std::chrono::duration<double>(took).count());
}

proto::TargetReport ManagerLink::ReportOf(size_t local_target) const {
  const ReplicaSet::LocalTarget& target = replicas_.targets()[local_target];
  const Engine::Space space = target.engine->GetSpace();
  proto::TargetReport report;
  if (local_target < target_ids_.size()) report.set_id(target_ids_[local_target]);
  report.set_uuid(target.uuid);
  report.set_state(target.engine->Health().ok() ? proto::UP_TO_DATE : proto::FAILED);
  report.set_used_bytes(space.used_bytes);
  report.set_total_bytes(space.total_bytes);
  for (proto::ChainReport& chain : replicas_.ChainReports(local_target)) {
    *report.add_chains() = std::move(chain);
  }
  return report;
}

proto::RegisterNodeRequest ManagerLink::RegistrationRequest() const {
  proto::RegisterNodeRequest request;
  request.set_uuid(options_.node_uuid);
  *request.mutable_addresses() = options_.addresses;
  request.set_pid(::getpid());
  request.set_failure_domain(options_.failure_domain);
  request.set_cluster_uuid(options_.cluster_uuid);
  request.set_process(process_);
  for (size_t i = 0; i < replicas_.targets().size(); ++i) {
    *request.add_targets() = ReportOf(i);
    request.mutable_targets()->rbegin()->set_id(0);  // the uuid names it
    request.mutable_targets()->rbegin()->set_place(replicas_.targets()[i].place);
  }
  return request;
}

Status ManagerLink::Register() {
  const proto::RegisterNodeRequest request = RegistrationRequest();
  proto::RegisterNodeResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options_.call_timeout);
  RETURN_IF_ERROR(FromGrpc(stubs_->heartbeat->RegisterNode(&context, request, &response)));
  if (response.target_ids_size() != request.targets_size() || response.heartbeat_ms() == 0)
    return {Code::kProtocol, "register node: the answer does not fit the request"};
  if (!remembered_ && options_.remember_cluster)
    RETURN_IF_ERROR(options_.remember_cluster(response.cluster_uuid()));
  remembered_ = true;
  options_.cluster_uuid = response.cluster_uuid();
  node_id_ = response.node_id();
  target_ids_.assign(response.target_ids().begin(), response.target_ids().end());
  heartbeat_every_ = std::chrono::milliseconds(response.heartbeat_ms());
  LogInfo("registered with manager {} as node {} of cluster {}", options_.manager, node_id_,
          options_.cluster_uuid);
  {
    std::lock_guard lock(mutex_);
    registered_ = true;
  }
  changed_.notify_all();
  return Status::Ok();
}

bool ManagerLink::IsStalled(size_t local_target) {
  const ReplicaSet::LocalTarget& target = replicas_.targets()[local_target];
  const Engine::Stats stats = target.engine->GetStats();
  const bool before = stalls_[local_target].IsStalled();
  const bool is = stalls_[local_target].Look(stats.changes_begun, stats.changes_ended, clock_.Now());
  if (is && !before) {
    LogWarn("target {} ({}): its disk has ended none of {} changes for 5 s; the manager is told",
            target.place, target.uuid, stats.changes_begun - stats.changes_ended);
  } else if (before && !is) {
    LogInfo("target {} ({}): its disk goes on", target.place, target.uuid);
  }
  return is;
}

proto::HeartbeatRequest ManagerLink::HeartbeatRequest() {
  proto::HeartbeatRequest request;
  request.set_node_id(node_id_);
  request.set_uuid(options_.node_uuid);
  request.set_process(process_);
  request.set_map_version(replicas_.map_in_force().value());
  for (size_t i = 0; i < replicas_.targets().size(); ++i) {
    *request.add_targets() = ReportOf(i);
    request.mutable_targets()->rbegin()->set_stalled(IsStalled(i));
  }
  if (!options_.out_of_reach) return request;
  for (NodeId node : options_.out_of_reach()) request.add_out_of_reach(node.value());
  return request;
}

Status ManagerLink::Heartbeat() {
  const proto::HeartbeatRequest request = HeartbeatRequest();
  proto::HeartbeatResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options_.call_timeout);
  const Clock::Instant sent = clock_.Now();
  RETURN_IF_ERROR(FromGrpc(stubs_->heartbeat->Heartbeat(&context, request, &response)));
  replicas_.ExtendLease(sent + std::chrono::milliseconds(response.lease_ms()));
  leased_ = response.lease_ms() > 0;
  CheckMapProgress(response.map_version());
  return Status::Ok();
}

// A stream can die without a word; the heartbeat's answer tells what it should have brought.
void ManagerLink::CheckMapProgress(uint64_t newest_version) {
  if (newest_version <= replicas_.map_version().value()) {
    behind_ = std::chrono::milliseconds(0);
    return;
  }
  behind_ += BeatEvery();
  if (behind_ < kBeatsBehindMax * heartbeat_every_) return;
  behind_ = std::chrono::milliseconds(0);
  CancelStream();
}

// ---- map thread ----

void ManagerLink::MapMain() {
  Reporter reporter("follow cluster map of manager " + options_.manager);
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return registered_ || stopping_; });
  }
  std::chrono::milliseconds pause{0};
  while (Wait(pause)) {
    const Status status = FollowMap();
    if (!Wait(std::chrono::milliseconds(0))) return;
    reporter.Report(status);
    pause = Backoff(reporter.failures());
  }
}

// Returns when the stream ends, which a healthy one never does.
Status ManagerLink::FollowMap() {
  grpc::ClientContext context;
  {
    std::lock_guard lock(stubs_->mutex);
    stubs_->stream = &context;
  }
  // The destructor sets stopping_ first, then cancels the stream it finds: one of the two is seen.
  if (!Wait(std::chrono::milliseconds(0))) context.TryCancel();
  proto::GetClusterMapRequest request;
  request.set_known_version(replicas_.map_version().value());
  auto stream = stubs_->map->WatchClusterMap(&context, request);
  proto::ClusterMap map;
  while (stream->Read(&map)) {
    LogInfo("cluster map {}: {} nodes, {} chains", map.version(), map.nodes_size(),
            map.chains_size());
    if (options_.map_comes) options_.map_comes(map);
    replicas_.ApplyMap(map);
  }
  const Status status = FromGrpc(stream->Finish());
  {
    std::lock_guard lock(stubs_->mutex);
    stubs_->stream = nullptr;
  }
  if (!status.ok()) return status;
  return {Code::kUnavailable, "watch cluster map: the manager ended the stream"};
}

}  // namespace sheaf::storage
