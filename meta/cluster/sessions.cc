#include "meta/cluster/sessions.h"

#include <utility>
#include <vector>

#include "common/log.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

// The newest removal epoch: the one before the next to be given out.
Result<RemovalEpoch> NewestEpoch(const ReadView& view) {
  ASSIGN_OR_RETURN(std::optional<std::string> row, view.Get(AllocatorKey(Sequence::kRemovalEpoch)));
  if (!row.has_value()) return RemovalEpoch();
  ASSIGN_OR_RETURN(const uint64_t next, DecodeCounter(*row));
  return RemovalEpoch(next == 0 ? 0 : next - 1);
}

Result<std::string> OpenInStore(OpContext& ctx, const std::string& description) {
  ASSIGN_OR_RETURN(const uint64_t incarnation, ctx.Allocate(Sequence::kIncarnation));
  ASSIGN_OR_RETURN(const RemovalEpoch epoch, NewestEpoch(ctx));
  ctx.Put(SessionKey(Incarnation(incarnation)),
          EncodeSession({.description = description,
                         .opened_ns = ctx.now_ns(),
                         .acked_removal_epoch = epoch.value()}));
  proto::OpenSessionResponse response;
  response.set_incarnation(incarnation);
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

// One bounded step of forgetting a fenced session; answers "more" while there is more to do. The
// row goes last, so that a restart finds what is left.
Result<std::string> CleanupInStore(OpContext& ctx, Incarnation session) {
  ASSIGN_OR_RETURN(const bool more_opens, DropWriteOpens(ctx, session, Sessions::kCleanupRows));
  if (more_opens) return std::string("more");
  ASSIGN_OR_RETURN(const bool more_results, DropResults(ctx, session, Sessions::kCleanupRows));
  if (more_results) return std::string("more");
  ctx.Delete(SessionKey(session));
  return std::string();
}

}  // namespace

Sessions::Sessions(Executor& executor, const Clock& clock, const SessionOptions& options)
    : executor_(executor), clock_(clock), options_(options), table_(options.lease) {}

Result<std::unique_ptr<Sessions>> Sessions::Load(Executor& executor, const Clock& clock,
                                                 const SessionOptions& options) {
  std::unique_ptr<Sessions> sessions(new Sessions(executor, clock, options));
  RETURN_IF_ERROR(sessions->LoadRows());
  sessions->thread_ = std::thread([raw = sessions.get()] { raw->Loop(); });
  return sessions;
}

Status Sessions::LoadRows() {
  const std::shared_ptr<const ReadView> view = executor_.Committed();
  const KeyRange range = TableRange(Table::kSession);
  Status status;
  const Clock::Instant now = clock_.Now();
  auto table = table_.Lock();
  auto load = [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t id, KeyField(key, 0));
    ASSIGN_OR_RETURN(const Session row, DecodeSession(value));
    table->Recover(Incarnation(id), now);
    if (!row.fenced) return Status::Ok();
    table->End(Incarnation(id));
    endings_.push_back({Incarnation(id), nullptr});
    return Status::Ok();
  };
  RETURN_IF_ERROR(view->Scan(range.begin, range.end, 0, [&](auto key, auto value) {
    status = load(key, value);
    return status.ok();
  }));
  return status.ok() ? status : status.With("load sessions");
}

Sessions::~Sessions() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Sessions::OpenSession(const proto::OpenSessionRequest& request, OpenDone done) {
  if (request.description().size() > kMaxDescription) {
    return done(Status(Code::kTooBig, "open session: its description is longer than " +
                                          std::to_string(kMaxDescription) + " bytes"));
  }
  if (Count() >= kMaxSessions) {
    return done(Status(Code::kBusy, "open session: there are " + std::to_string(kMaxSessions) +
                                        " sessions already"));
  }
  auto answer = [this, done](Result<std::string> result) {
    if (!result.ok()) return done(result.status());
    proto::OpenSessionResponse response;
    CHECK(response.ParseFromString(*result), "own response does not parse");
    table_.Lock()->Add(Incarnation(response.incarnation()), RemovalEpoch(response.removal_epoch()),
                       clock_.Now());
    response.set_renew_ms(static_cast<uint32_t>(options_.renew.count()));
    response.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
    response.set_cluster_uuid(options_.cluster_uuid);
    done(std::move(response));
  };
  executor_.Submit(
      std::nullopt,
      [description = request.description()](OpContext& ctx) {
        return OpenInStore(ctx, description);
      },
      std::move(answer));
}

Result<proto::RenewSessionResponse> Sessions::RenewSession(
    const proto::RenewSessionRequest& request) {
  const std::shared_ptr<const ReadView> view = executor_.Committed();
  ASSIGN_OR_RETURN(const RemovalEpoch newest, NewestEpoch(*view));
  const uint64_t acked = request.acked_removal_epoch();
  if (acked > newest.value()) {
    return Status(Code::kInvalid, "renew session " + std::to_string(request.incarnation()) +
                                      ": it acknowledges removal epoch " + std::to_string(acked) +
                                      ", the newest is " + ToString(newest));
  }
  std::vector<InodeId> pins;
  pins.reserve(request.pinned_inodes_size());
  for (uint64_t inode : request.pinned_inodes()) pins.emplace_back(inode);
  RETURN_IF_ERROR(table_.Lock()->Renew(Incarnation(request.incarnation()), RemovalEpoch(acked),
                                       pins, clock_.Now()));

  proto::RenewSessionResponse response;
  response.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
  response.set_removal_epoch(newest.value());
  size_t rows = 0;
  Status status;
  auto tell = [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t epoch, KeyField(key, 0));
    ASSIGN_OR_RETURN(const Removal removal, DecodeRemoval(value));
    // Replaced bytes of a living file cannot be kept open: only inodes are told.
    if (removal.kind == Removal::Kind::kInode) {
      response.add_removed_inodes(removal.inode.value());
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
      endings_.push_back({session, std::move(done)});
      done = nullptr;
    }
  }
  if (done) return done({Code::kUnavailable, "close session: the service is stopping"});
  changed_.notify_all();
}

bool Sessions::MayReclaim(RemovalEpoch epoch, InodeId inode) const {
  auto table = table_.Lock();
  return epoch <= table->AckedByAll() && !table->IsPinned(inode);
}

RemovalEpoch Sessions::AckedByAll() const { return table_.Lock()->AckedByAll(); }

size_t Sessions::Count() const { return table_.Lock()->size(); }

void Sessions::Loop() {
  for (bool failed = false;;) {
    std::deque<Ending> endings;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, options_.tick,
                        [&] { return stopping_ || (!failed && !endings_.empty()); });
      endings.swap(endings_);
      if (stopping_) {
        lock.unlock();
        for (Ending& ending : endings) {
          if (ending.done) ending.done({Code::kUnavailable, "the service is stopping"});
        }
        return;
      }
    }
    for (Incarnation session : table_.Lock()->Expired(clock_.Now())) {
      LogInfo("session {} has expired", session.value());
      expired_.fetch_add(1, std::memory_order_relaxed);
      table_.Lock()->End(session);
      endings.push_back({session, nullptr});
    }
    failed = false;
    for (Ending& ending : endings) {
      Status status = End(ending);
      if (status.ok()) continue;
      failed = true;  // the next try is a tick away
      LogWarn("session {} could not be ended, trying again: {}", ending.session.value(),
              status.ToString());
      std::lock_guard lock(mutex_);
      endings_.push_back({ending.session, nullptr});
    }
  }
}

// Order: fenced durably, so that the session can change nothing more; then told and unpinned; then
// its rows.
Status Sessions::End(const Ending& ending) {
  const Status fenced = Fence(ending.session);
  if (ending.done) ending.done(fenced);
  RETURN_IF_ERROR(fenced);
  table_.Lock()->Remove(ending.session);
  return Cleanup(ending.session);
}

Status Sessions::Fence(Incarnation session) {
  return executor_
      .Run(std::nullopt, [session](OpContext& ctx) { return FenceInStore(ctx, session); })
      .status();
}

Status Sessions::Cleanup(Incarnation session) {
  for (;;) {
    ASSIGN_OR_RETURN(const std::string left, executor_.Run(std::nullopt, [session](OpContext& ctx) {
      return CleanupInStore(ctx, session);
    }));
    if (left.empty()) return Status::Ok();
  }
}

}  // namespace sheaf::meta
