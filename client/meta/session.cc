#include "client/meta/session.h"

#include <variant>

#include "common/log.h"

namespace sheaf::client {
namespace {

constexpr std::chrono::milliseconds kMinRenew{50};
// Waiting for opens under way to settle before removals are acknowledged.
constexpr std::chrono::milliseconds kSettleWait{50};

}  // namespace

Session::Session(ClusterClient& cluster, std::string description, const OpenInodes& open_inodes)
    : cluster_(cluster), description_(std::move(description)), open_inodes_(open_inodes) {}

Result<std::unique_ptr<Session>> Session::Open(ClusterClient& cluster,
                                               const std::string& description,
                                               const OpenInodes& open_inodes) {
  std::unique_ptr<Session> session(new Session(cluster, description, open_inodes));
  RETURN_IF_ERROR(session->OpenNew());
  session->renewer_ = std::thread([raw = session.get()] { raw->RenewLoop(); });
  return session;
}

Session::~Session() {
  state_.Lock()->stopping = true;
  changed_.notify_all();
  if (!renewer_.joinable()) return;
  renewer_.join();
  if (Status closed = cluster_.CloseSession(incarnation()); !closed.ok()) {
    LogDebug("client: {}", closed.ToString());  // it expires by itself
  }
}

Incarnation Session::incarnation() const { return state_.Lock()->ledger->incarnation(); }

std::shared_ptr<RequestLedger> Session::ledger() const { return state_.Lock()->ledger; }

std::shared_ptr<const proto::MetaFrames> Session::frames() const { return state_.Lock()->frames; }

void Session::ReportLost(Incarnation lost) {
  {
    auto state = state_.Lock();
    if (state->ledger->incarnation() != lost) return;
    state->lost = true;
    state->wake = true;
  }
  changed_.notify_all();
}

void Session::InodeClosed(InodeId inode) {
  {
    auto state = state_.Lock();
    const auto data = state->pinned_data.lower_bound({inode, DataId()});
    const bool holds_data = data != state->pinned_data.end() && data->first == inode;
    if (!state->pinned.contains(inode) && !holds_data) return;
    state->wake = true;
  }
  changed_.notify_all();
}

Status Session::OpenNew() {
  ASSIGN_OR_RETURN(const proto::OpenSessionResponse response, cluster_.OpenSession(description_));
  auto state = state_.Lock();
  state->ledger = std::make_shared<RequestLedger>(Incarnation(response.incarnation()));
  state->frames = std::make_shared<const proto::MetaFrames>(response.frames());
  state->acked_epoch = response.removal_epoch();
  state->unacked.reset();
  state->renew = std::max(std::chrono::milliseconds(response.renew_ms()), kMinRenew);
  state->lost = false;
  return Status::Ok();
}

Status Session::Replace(Incarnation lost) {
  auto one_at_a_time = replacing_.Lock();
  if (incarnation() != lost) return Status::Ok();
  LogWarn("client: session {} is over; opening a new one", ToString(lost));
  return OpenNew();
}

void Session::RenewLoop() {
  std::chrono::milliseconds wait = state_.Lock()->renew;
  for (;;) {
    {
      auto state = state_.Lock();
      const auto next = std::chrono::steady_clock::now() + wait;
      state.WaitUntil(changed_, next, [&] { return state->stopping || state->wake; });
      if (state->stopping) return;
      state->wake = false;
    }
    wait = RenewOnce();
  }
}

std::chrono::milliseconds Session::RenewOnce() {
  proto::RenewSessionRequest request;
  std::chrono::milliseconds renew;
  bool lost = false;
  {
    auto state = state_.Lock();
    renew = state->renew;
    lost = state->lost;
    request = NextRequest(*state);
  }
  const Incarnation asked_for(request.incarnation());
  Status failed;
  if (!lost) {
    auto response = cluster_.RenewSession(request, renew);
    renewals_.fetch_add(1, std::memory_order_relaxed);
    if (!response.ok()) renewal_errors_.fetch_add(1, std::memory_order_relaxed);
    if (response.ok()) return Accept(asked_for, *response) ? kSettleWait : renew;
    failed = response.status();
    lost = failed.code() == Code::kNoSession || failed.code() == Code::kFenced;
  }
  if (lost) failed = Replace(asked_for);
  if (!failed.ok()) LogDebug("client: {}", failed.ToString());
  return failed.ok() ? renew : std::max(renew / 8, kMinRenew);
}

// Moves removals that may be acknowledged into the request's pins.
proto::RenewSessionRequest Session::NextRequest(State& state) {
  if (state.unacked != nullptr && open_inodes_.OpensSettled(state.unacked->open_mark)) {
    state.pinned.insert(state.unacked->inodes.begin(), state.unacked->inodes.end());
    state.pinned_data.insert(state.unacked->data.begin(), state.unacked->data.end());
    state.acked_epoch = state.unacked->epoch;
    state.unacked.reset();
  }
  std::erase_if(state.pinned, [&](InodeId inode) { return !open_inodes_.IsOpen(inode); });
  std::erase_if(state.pinned_data, [&](const auto& pin) {
    return !open_inodes_.UsesData(pin.first, pin.second);
  });
  proto::RenewSessionRequest request;
  request.set_incarnation(state.ledger->incarnation().value());
  request.set_acked_removal_epoch(state.acked_epoch);
  for (InodeId inode : state.pinned) request.add_pinned_inodes(inode.value());
  for (const auto& [inode, data] : state.pinned_data) request.add_pinned_data_ids(data.value());
  return request;
}

// Whether there is something to acknowledge soon.
bool Session::Accept(Incarnation asked_for, const proto::RenewSessionResponse& response) {
  auto state = state_.Lock();
  if (state->ledger->incarnation() != asked_for) return false;
  if (response.removal_epoch() <= state->acked_epoch) return state->unacked != nullptr;
  auto removals = std::make_unique<Removals>();
  removals->epoch = response.removal_epoch();
  removals->open_mark = open_inodes_.OpenMark();
  for (uint64_t inode : response.removed_inodes()) removals->inodes.emplace_back(inode);
  for (const proto::ReplacedData& replaced : response.replaced()) {
    removals->data.emplace_back(InodeId(replaced.inode()), DataId(replaced.data_id()));
  }
  // An older answer's mark is kept while it waits, or a steady flow of opens would delay it for
  // ever.
  if (state->unacked == nullptr) state->unacked = std::move(removals);
  return true;
}

}  // namespace sheaf::client
