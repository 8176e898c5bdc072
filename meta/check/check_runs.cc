#include "meta/check/check_runs.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/log.h"
#include "meta/check/data_list.h"
#include "meta/check/repair.h"
#include "meta/ops/executor.h"

namespace sheaf::meta {

CheckRuns::CheckRuns(Executor& executor, const Clock& clock, const Options& options)
    : executor_(executor), clock_(clock), options_(options), thread_([this] { Loop(); }) {
  // Numbers of an earlier process are not taken for ours.
  std::lock_guard lock(mutex_);
  last_ = static_cast<uint64_t>(clock_.WallNanos());
}

CheckRuns::~CheckRuns() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckRuns::Loop() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, options_.tick, [this] { return stopping_; })) {
    DropIdle();
  }
}

void CheckRuns::DropIdle() {
  if (current_ == 0 || clock_.Now() - touched_ < options_.idle) return;
  LogInfo("a check of the metadata was given up");
  current_ = 0;
  run_ = {};
}

Status CheckRuns::Touch(uint64_t check) {
  DropIdle();
  if (check == 0 || check != current_) {
    return {Code::kStale, "check " + std::to_string(check) + ": it is over; begin a new one"};
  }
  touched_ = clock_.Now();
  return Status::Ok();
}

Result<proto::BeginCheckResponse> CheckRuns::Begin() {
  std::lock_guard lock(mutex_);
  DropIdle();
  if (current_ != 0) {
    return Status(Code::kBusy, "begin check: another is under way; wait for its end");
  }
  run_ = {};
  run_.check = std::make_unique<NamespaceCheck>(executor_.Committed(), options_.share);
  current_ = ++last_;
  touched_ = clock_.Now();
  proto::BeginCheckResponse answer;
  answer.set_check(current_);
  return answer;
}

Result<proto::StepCheckResponse> CheckRuns::Step(const proto::StepCheckRequest& request) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Touch(request.check()));
  const uint32_t wanted = request.max_rows();
  RETURN_IF_ERROR(run_.check->Step(wanted == 0 ? kMaxRows : std::min(wanted, kMaxRows)));
  proto::StepCheckResponse answer;
  for (proto::Finding& finding : run_.check->TakeFindings()) {
    *answer.add_findings() = std::move(finding);
  }
  answer.set_done(run_.check->done());
  answer.set_rows(run_.check->rows());
  answer.set_inodes(run_.check->inodes());
  answer.set_phase(run_.check->phase());
  touched_ = clock_.Now();
  return answer;
}

// The check stays the current one until the operation has run, so that a later one cannot see the
// same difference and add it again.
Result<proto::RepairFindingResponse> CheckRuns::Repair(const proto::RepairFindingRequest& request) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Touch(request.check()));
  const proto::Finding& finding = request.finding();
  const auto operation = [&finding](OpContext& ctx) -> Result<std::string> {
    ASSIGN_OR_RETURN(const bool repaired, RepairFinding(ctx, finding));
    return std::string(repaired ? "repaired" : "");
  };
  const Result<std::string> done = executor_.Run(std::nullopt, operation);
  proto::RepairFindingResponse answer;
  if (done.status().code() == Code::kUnsupported || done.status().code() == Code::kExists) {
    answer.set_reason(done.status().message());
    return answer;
  }
  RETURN_IF_ERROR(done.status());
  answer.set_repaired(!done->empty());
  if (done->empty()) answer.set_reason("it has changed since it was found");
  if (answer.repaired()) LogInfo("repaired: {}", finding.text());
  return answer;
}

Result<proto::EndCheckResponse> CheckRuns::End(const proto::EndCheckRequest& request) {
  std::lock_guard lock(mutex_);
  if (request.check() == current_) {
    current_ = 0;
    run_ = {};
  }
  return proto::EndCheckResponse();
}

Result<proto::ListDataResponse> CheckRuns::List(const proto::ListDataRequest& request) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Touch(request.check()));
  if (request.cursor().empty()) run_.data_view = executor_.Committed();
  if (run_.data_view == nullptr) {
    return Status(Code::kInvalid, "list data: no listing is under way; begin without a cursor");
  }
  return ListData(*run_.data_view, request.cursor(), request.min_data_id(), request.max_data_id());
}

Result<proto::GetDataResponse> CheckRuns::Get(const proto::GetDataRequest& request) {
  return GetData(*executor_.Committed(), InodeId(request.inode()));
}

Result<proto::DropOrphansResponse> CheckRuns::DropOrphans(
    const proto::DropOrphansRequest& request) {
  if (request.data_ids_size() > kMaxOrphans) {
    return Status(Code::kTooBig, "drop orphans: " + std::to_string(request.data_ids_size()) +
                                     " data_ids (at most " + std::to_string(kMaxOrphans) + ")");
  }
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Touch(request.check()));
  const std::unordered_set<uint64_t> asked(request.data_ids().begin(), request.data_ids().end());
  ASSIGN_OR_RETURN(const DeadData dead, FindDead(*executor_.Committed(), asked));
  proto::DropOrphansResponse answer;
  touched_ = clock_.Now();
  if (dead.ids.empty()) return answer;
  const Result<std::string> queued =
      executor_.Run(std::nullopt, [&dead, answer](OpContext& ctx) mutable -> Result<std::string> {
        ASSIGN_OR_RETURN(const std::vector<DataId> ids, QueueOrphans(ctx, dead));
        for (DataId id : ids) answer.add_queued(id.value());
        return answer.SerializeAsString();
      });
  if (!queued.ok()) return queued.status();
  CHECK(answer.ParseFromString(*queued), "own answer does not parse");
  LogInfo("{} orphaned data_ids were queued for removal", answer.queued_size());
  return answer;
}

}  // namespace sheaf::meta
