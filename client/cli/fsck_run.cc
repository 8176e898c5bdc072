#include "client/cli/fsck_run.h"

#include <algorithm>
#include <cctype>
#include <thread>
#include <unordered_set>
#include <utility>

#include "client/cli/chunk_check.h"
#include "client/cli/replica_check.h"

namespace sheaf::cli {
namespace {

constexpr size_t kOrphansPerCall = 4096;

}  // namespace

std::string KindName(proto::FindingKind kind) {
  if (kind == proto::FINDING_UNSPECIFIED) return "unchecked";
  std::string name = proto::FindingKind_Name(kind);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

Result<FsckResult> FsckRun::Run() {
  for (int round = 0;; ++round) {
    RETURN_IF_ERROR(Round());
    if (!options_.repair || repaired_in_round_ == 0) break;
    if (round + 1 < kMaxRounds) continue;
    return Status(Code::kIo, "after " + std::to_string(kMaxRounds) +
                                 " rounds there is still something to repair: it comes back");
  }
  for (const Problem& problem : left_) options_.tell(problem);
  result_.left = left_count_;
  return result_;
}

Status FsckRun::Round() {
  left_.clear();
  left_count_ = 0;
  repaired_in_round_ = 0;
  ASSIGN_OR_RETURN(const uint64_t check, source_.BeginCheck());
  Status status = CheckNames(check);
  if (status.ok()) status = CheckChunks(check);
  const Status ended = source_.EndCheck(check);
  RETURN_IF_ERROR(status.ok() ? ended : status);
  return CheckReplicas();
}

Status FsckRun::CheckNames(uint64_t check) {
  for (;;) {
    ASSIGN_OR_RETURN(const proto::StepCheckResponse step, source_.StepCheck(check));
    for (const proto::Finding& finding : step.findings()) {
      RETURN_IF_ERROR(Handle(check, finding));
    }
    result_.rows = step.rows();
    result_.inodes = step.inodes();
    options_.progress(step.phase() + ": " + std::to_string(step.rows()) + " rows");
    if (step.done()) return Status::Ok();
  }
}

Status FsckRun::CheckChunks(uint64_t check) {
  orphans_.clear();
  ChunkCheck chunks(source_, check,
                    [&](const proto::Finding& finding) { return Handle(check, finding); });
  RETURN_IF_ERROR(chunks.Run());
  result_.chunks = chunks.chunks();
  return DropOrphans(check);
}

Status FsckRun::CheckReplicas() {
  options_.progress("replicas");
  ReplicaCheck replicas(
      source_,
      [&](const proto::Finding& finding) {
        Leave(finding, options_.repair && finding.kind() == proto::REPLICAS_DIFFER
                           ? "which of them is right is for you to say: docs/OPERATIONS.md, Damage on disk"
                           : "");
        return Status::Ok();
      },
      [&] { std::this_thread::sleep_for(options_.pause); });
  return replicas.Run();
}

Status FsckRun::Handle(uint64_t check, const proto::Finding& finding) {
  if (!options_.repair || !finding.repairable()) {
    Leave(finding, "");
    return Status::Ok();
  }
  if (finding.kind() == proto::ORPHAN_CHUNKS) {
    orphans_.push_back(finding);  // dropped together: each call reads every row
    return Status::Ok();
  }
  // Not sent twice: whether it was done would not be known.
  ASSIGN_OR_RETURN(const proto::RepairFindingResponse answer, source_.Repair(check, finding));
  if (answer.repaired()) {
    Repaired(finding);
  } else {
    Leave(finding, answer.reason());
  }
  return Status::Ok();
}

Status FsckRun::DropOrphans(uint64_t check) {
  for (size_t begin = 0; begin < orphans_.size(); begin += kOrphansPerCall) {
    const size_t end = std::min(begin + kOrphansPerCall, orphans_.size());
    proto::DropOrphansRequest request;
    request.set_check(check);
    for (size_t i = begin; i < end; ++i) request.add_data_ids(orphans_[i].data_id());
    ASSIGN_OR_RETURN(const proto::DropOrphansResponse answer, source_.DropOrphans(request));
    const std::unordered_set<uint64_t> queued(answer.queued().begin(), answer.queued().end());
    for (size_t i = begin; i < end; ++i) {
      if (queued.contains(orphans_[i].data_id())) {
        Repaired(orphans_[i]);
      } else {
        Leave(orphans_[i], "it is named by something now, or its number is out of range");
      }
    }
  }
  return Status::Ok();
}

void FsckRun::Repaired(const proto::Finding& finding) {
  ++result_.repaired;
  ++repaired_in_round_;
  options_.tell({.kind = KindName(finding.kind()), .text = finding.text(), .repaired = true});
}

void FsckRun::Leave(const proto::Finding& finding, std::string why_not) {
  ++left_count_;
  if (left_.size() == kMaxHeld) return;
  left_.push_back(
      {.kind = KindName(finding.kind()), .text = finding.text(), .why_not = std::move(why_not)});
}

}  // namespace sheaf::cli
