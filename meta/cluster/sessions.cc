#include "meta/cluster/sessions.h"

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "common/log.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

// The newest removal epoch: the one before the next to be given out.
Result<RemovalEpoch> NewestEpoch(const ReadView& view) {
  ASSIGN_OR_RETURN(std::optional<std::string> row, view.Get(AllocatorKey(Sequence::kRemovalEpoch)));
  if (!row.has_value()) return RemovalEpoch();
  ASSIGN_OR_RETURN(const uint64_t next, DecodeCounter(*row));
  return RemovalEpoch(next == 0 ? 0 : next - 1);
}

Result<Incarnation> NewRow(OpContext& ctx, const std::string& description, RemovalEpoch acked) {
  ASSIGN_OR_RETURN(const uint64_t incarnation, ctx.Allocate(Sequence::kIncarnation));
  ctx.Put(SessionKey(Incarnation(incarnation)),
          EncodeSession({.description = description,
                         .opened_ns = ctx.now_ns(),
                         .acked_removal_epoch = acked.value()}));
  return Incarnation(incarnation);
}

Result<std::string> OpenInStore(OpContext& ctx, const std::string& description) {
  ASSIGN_OR_RETURN(const RemovalEpoch epoch, NewestEpoch(ctx));
  ASSIGN_OR_RETURN(const Incarnation incarnation, NewRow(ctx, description, epoch));
  proto::OpenSessionResponse response;
  response.set_incarnation(incarnation.value());
  response.set_removal_epoch(epoch.value());
  return response.SerializeAsString();
}

Result<std::string> FenceInStore(OpContext& ctx, Incarnation session) {
  ASSIGN_OR_RETURN(std::optional<std::string> row, ctx.Get(SessionKey(session)));
  if (!row.has_value()) return std::string();
  ASSIGN_OR_RETURN(Session value, DecodeSession(*row));
  value.fenced = true;
  ctx.Put(SessionKey(session), EncodeSession(value));
  return std::string();
}

// The session that the service opened at its last start; none at the first.
Result<Incarnation> LoadService(const ReadView& view) {
  ASSIGN_OR_RETURN(const std::optional<std::string> row,
                   view.Get(ClusterKey(ClusterRow::kServiceSession)));
  if (!row.has_value()) return Incarnation();
  ASSIGN_OR_RETURN(const uint64_t incarnation, DecodeCounter(*row));
  return Incarnation(incarnation);
}

// A new session for the service, and the end of the one before, in one step.
Result<std::string> BeginServiceInStore(OpContext& ctx) {
  ASSIGN_OR_RETURN(const Incarnation before, LoadService(ctx));
  if (before.IsSet()) RETURN_IF_ERROR(FenceInStore(ctx, before).status());
  ASSIGN_OR_RETURN(const Incarnation incarnation, NewRow(ctx, "metadata service", RemovalEpoch()));
  ctx.Put(ClusterKey(ClusterRow::kServiceSession), EncodeCounter(incarnation.value()));
  return std::string();
}

// One bounded step of forgetting a fenced session whose files are settled; answers "more" while
// there is more to do. The row goes last, so that a restart finds what is left.
Result<std::string> ForgetInStore(OpContext& ctx, Incarnation session) {
  ASSIGN_OR_RETURN(const bool more_results, DropResults(ctx, session, Sessions::kCleanupRows));
  if (more_results) return std::string("more");
  ctx.Delete(SessionKey(session));
  return std::string();
}

}  // namespace

Sessions::Sessions(const Parts& parts, const SessionOptions& options)
    : parts_(parts),
      options_(options),
      settler_(parts.executor, parts.prober, options.probe_timeout),
      table_(options.lease),
      pool_(options.settlers, kMaxSessions) {}

Result<std::unique_ptr<Sessions>> Sessions::Load(const Parts& parts,
                                                 const SessionOptions& options) {
  std::unique_ptr<Sessions> sessions(new Sessions(parts, options));
  RETURN_IF_ERROR(sessions->BeginService().With("open the service's own session"));
  RETURN_IF_ERROR(sessions->LoadRows().With("load sessions"));
  parts.fence.FenceEnded();
  sessions->thread_ = std::thread([raw = sessions.get()] { raw->Loop(); });
  return sessions;
}

Status Sessions::BeginService() {
  ASSIGN_OR_RETURN(service_before_, LoadService(*parts_.executor.Committed()));
  RETURN_IF_ERROR(parts_.executor.Run(std::nullopt, BeginServiceInStore).status());
  ASSIGN_OR_RETURN(service_, LoadService(*parts_.executor.Committed()));
  return Status::Ok();
}

Result<Incarnation> Sessions::ServiceIdentity() const {
  if (!service_ready_ && service_before_.IsSet() &&
      !parts_.fence.FencedEverywhere(service_before_)) {
    return Status(Code::kUnavailable, "the metadata service's session before this start (" +
                                          ToString(service_before_) +
                                          ") is not fenced everywhere yet");
  }
  service_ready_ = true;
  return service_;
}

Status Sessions::LoadRows() {
  const std::shared_ptr<const ReadView> view = parts_.executor.Committed();
  const KeyRange range = TableRange(Table::kSession);
  Status status;
  const Clock::Instant now = parts_.clock.Now();
  auto table = table_.Lock();
  auto load = [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t id, KeyField(key, 0));
    ASSIGN_OR_RETURN(const Session row, DecodeSession(value));
    if (Incarnation(id) == service_) return Status::Ok();
    table->Recover(Incarnation(id), now);
    if (!row.fenced) return Status::Ok();
    table->End(Incarnation(id));
    ends_.emplace(Incarnation(id), End());
    return Status::Ok();
  };
  RETURN_IF_ERROR(view->Scan(range.begin, range.end, 0, [&](auto key, auto value) {
    status = load(key, value);
    return status.ok();
  }));
  return status;
}

Sessions::~Sessions() { Stop(); }

void Sessions::Stop() {
  std::vector<CloseDone> left;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [session, end] : ends_) left.push_back(std::exchange(end.done, nullptr));
  }
  changed_.notify_all();
  for (CloseDone& done : left) {
    if (done) done({Code::kUnavailable, "close session: the service is stopping"});
  }
  if (thread_.joinable()) thread_.join();
}

void Sessions::OpenSession(const proto::OpenSessionRequest& request, OpenDone done) {
  if (request.description().size() > kMaxDescription) {
    return done(Status(Code::kTooBig, "open session: its description is longer than " +
                                          std::to_string(kMaxDescription) + " bytes"));
  }
  if (Count() + Ending() >= kMaxSessions) {
    return done(Status(Code::kBusy, "open session: there are " + std::to_string(kMaxSessions) +
                                        " sessions already"));
  }
  auto answer = [this, done](Result<std::string> result) {
    if (!result.ok()) return done(result.status());
    proto::OpenSessionResponse response;
    CHECK(response.ParseFromString(*result), "own response does not parse");
    table_.Lock()->Add(Incarnation(response.incarnation()), RemovalEpoch(response.removal_epoch()),
                       parts_.clock.Now());
    response.set_renew_ms(static_cast<uint32_t>(options_.renew.count()));
    response.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
    response.set_cluster_uuid(options_.cluster_uuid);
    done(std::move(response));
  };
  parts_.executor.Submit(
      std::nullopt,
      [description = request.description()](OpContext& ctx) {
        return OpenInStore(ctx, description);
      },
      std::move(answer));
}

Result<proto::RenewSessionResponse> Sessions::RenewSession(
    const proto::RenewSessionRequest& request) {
  const std::shared_ptr<const ReadView> view = parts_.executor.Committed();
  ASSIGN_OR_RETURN(const RemovalEpoch newest, NewestEpoch(*view));
  const uint64_t acked = request.acked_removal_epoch();
  if (acked > newest.value()) {
    return Status(Code::kInvalid, "renew session " + std::to_string(request.incarnation()) +
                                      ": it acknowledges removal epoch " + std::to_string(acked) +
                                      ", the newest is " + ToString(newest));
  }
  SessionTable::Pins pins;
  for (uint64_t inode : request.pinned_inodes()) pins.inodes.emplace_back(inode);
  for (uint64_t data_id : request.pinned_data_ids()) pins.data_ids.emplace_back(data_id);
  RETURN_IF_ERROR(table_.Lock()->Renew(Incarnation(request.incarnation()), RemovalEpoch(acked),
                                       pins, parts_.clock.Now()));

  proto::RenewSessionResponse response;
  response.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
  response.set_removal_epoch(newest.value());
  size_t rows = 0;
  Status status;
  auto tell = [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t epoch, KeyField(key, 0));
    ASSIGN_OR_RETURN(const Removal removal, DecodeRemoval(value));
    if (removal.kind == Removal::Kind::kInode) {
      response.add_removed_inodes(removal.inode.value());
    } else {
      proto::ReplacedData* replaced = response.add_replaced();
      replaced->set_inode(removal.inode.value());
      replaced->set_data_id(removal.data_id.value());
    }
    if (++rows == kRemovedPage) response.set_removal_epoch(epoch);
    return Status::Ok();
  };
  RETURN_IF_ERROR(view->Scan(RemovalKey(RemovalEpoch(acked + 1)), TableRange(Table::kRemoval).end,
                             kRemovedPage, [&](auto key, auto value) {
                               status = tell(key, value);
                               return status.ok();
                             }));
  RETURN_IF_ERROR(status);
  return response;
}

void Sessions::CloseSession(Incarnation session, CloseDone done) {
  if (!table_.Lock()->End(session)) return done(Status::Ok());
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      ends_[session].done = std::exchange(done, nullptr);
      woken_ = true;
    }
  }
  if (done) return done({Code::kUnavailable, "close session: the service is stopping"});
  changed_.notify_all();
}

// A handle keeps the inode it opened, and the data_id it reads: one does not stand for the other.
bool Sessions::MayReclaim(RemovalEpoch epoch, const Removal& removal) const {
  auto table = table_.Lock();
  if (epoch > table->AckedByAll()) return false;
  return removal.kind == Removal::Kind::kInode ? !table->IsPinned(removal.inode)
                                               : !table->IsPinned(removal.data_id);
}

RemovalEpoch Sessions::AckedByAll() const { return table_.Lock()->AckedByAll(); }

size_t Sessions::Count() const { return table_.Lock()->size(); }

size_t Sessions::Ending() const {
  std::lock_guard lock(mutex_);
  return ends_.size();
}

size_t Sessions::Unsettled() const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(
      std::count_if(ends_.begin(), ends_.end(), [](const auto& end) { return end.second.failed; }));
}

void Sessions::Loop() {
  while (WaitForTick()) {
    ExpireSessions();
    RefuseEnded();
    PassFenced();
    StartSettling();
  }
}

// False: stopping.
bool Sessions::WaitForTick() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, options_.tick, [this] { return stopping_ || woken_; });
  woken_ = false;
  return !stopping_;
}

void Sessions::ExpireSessions() {
  std::vector<Incarnation> expired = table_.Lock()->Expired(parts_.clock.Now());
  for (Incarnation session : expired) {
    if (!table_.Lock()->End(session)) continue;
    LogInfo("session {} has expired", session.value());
    expired_.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    ends_.emplace(session, End());
  }
}

std::vector<Incarnation> Sessions::InStep(Step step) const {
  std::vector<Incarnation> sessions;
  std::lock_guard lock(mutex_);
  for (const auto& [session, end] : ends_) {
    if (end.step == step) sessions.push_back(session);
  }
  return sessions;
}

Sessions::CloseDone Sessions::TakeDone(Incarnation session) {
  std::lock_guard lock(mutex_);
  return std::exchange(ends_.at(session).done, nullptr);
}

// All steps are queued together, so that one group commit serves them.
void Sessions::RefuseEnded() {
  const std::vector<Incarnation> sessions = InStep(Step::kRefuse);
  std::vector<std::future<Status>> answers;
  for (Incarnation session : sessions) {
    auto promise = std::make_shared<std::promise<Status>>();
    answers.push_back(promise->get_future());
    parts_.executor.Submit(
        std::nullopt, [session](OpContext& ctx) { return FenceInStore(ctx, session); },
        [promise](const Result<std::string>& answer) { promise->set_value(answer.status()); });
  }
  for (size_t i = 0; i < sessions.size(); ++i) Refused(sessions[i], answers[i].get());
  if (!sessions.empty()) parts_.fence.FenceEnded();
}

void Sessions::Refused(Incarnation session, const Status& status) {
  if (!status.ok()) {  // the next try is a tick away
    LogWarn("session {} could not be ended, trying again: {}", session.value(), status.ToString());
    if (CloseDone done = TakeDone(session)) done(status);
    return;
  }
  SetStep(session, Step::kFence);
  if (HasWriteOpens(session)) return;
  if (CloseDone done = TakeDone(session)) done(Status::Ok());
}

bool Sessions::HasWriteOpens(Incarnation session) const {
  const KeyRange range = IdRange(Table::kWriteOpen, session.value());
  bool found = false;
  const Status status =
      parts_.executor.Committed()->Scan(range.begin, range.end, 1, [&](auto, auto) {
        found = true;
        return false;
      });
  return found || !status.ok();
}

// From here on its pins keep nothing from being reclaimed. They could not go earlier: a write that
// came late would have left chunks of a file that is gone. They do not wait for the settling: a
// chain that is away for long must not hold up all reclaiming.
void Sessions::PassFenced() {
  for (Incarnation session : InStep(Step::kFence)) {
    if (!parts_.fence.FencedEverywhere(session)) continue;
    table_.Lock()->Remove(session);
    SetStep(session, Step::kSettle);
  }
}

void Sessions::SetStep(Incarnation session, Step step) {
  std::lock_guard lock(mutex_);
  ends_.at(session).step = step;
}

void Sessions::StartSettling() {
  const Clock::Instant now = parts_.clock.Now();
  std::lock_guard lock(mutex_);
  for (auto& [session, end] : ends_) {
    if (end.step != Step::kSettle || end.working || now < end.next_try) continue;
    end.working = pool_.Submit([this, id = session] { SettleOne(id); });
  }
}

void Sessions::SettleOne(Incarnation session) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
  Status status = settler_.Settle(session);
  if (status.ok()) status = Forget(session);
  if (!status.ok()) return NoteFailure(session, status);
  const CloseDone done = TakeDone(session);
  {
    std::lock_guard lock(mutex_);
    ends_.erase(session);
  }
  if (done) done(Status::Ok());
}

Status Sessions::Forget(Incarnation session) {
  for (;;) {
    ASSIGN_OR_RETURN(const std::string left,
                     parts_.executor.Run(std::nullopt, [session](OpContext& ctx) {
                       return ForgetInStore(ctx, session);
                     }));
    if (left.empty()) return Status::Ok();
  }
}

void Sessions::NoteFailure(Incarnation session, const Status& status) {
  CloseDone done = TakeDone(session);
  {
    std::lock_guard lock(mutex_);
    End& end = ends_.at(session);
    end.delay = end.failed ? std::min(end.delay * 2, options_.longest_retry) : options_.first_retry;
    end.next_try = parts_.clock.Now() + end.delay;
    end.failed = true;
    end.working = false;
    LogWarn("session {} is over, but its files are not settled; next try in {} ms: {}",
            session.value(), end.delay.count(), status.ToString());
  }
  if (done)
    done({Code::kUnavailable, "close session: its files are settled later: " + status.ToString()});
}

}  // namespace sheaf::meta
