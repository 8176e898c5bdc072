#include "meta/cluster/session_settler.h"

#include <future>
#include <memory>
#include <utility>

#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

Result<std::string> SettleInStore(OpContext& ctx, Incarnation session, InodeId inode,
                                  const ProbeJob& job, SizeEpoch epoch, uint64_t reach) {
  ASSIGN_OR_RETURN(const bool settled, SettleLength(ctx, inode, job.data_id, epoch, reach));
  if (!settled) {
    return Status(Code::kBusy, "settle inode " + ToString(inode) +
                                   ": it was truncated while its chunks were looked at");
  }
  RETURN_IF_ERROR(DropWriteOpen(ctx, session, inode));
  return std::string();
}

}  // namespace

Status SessionSettler::Settle(Incarnation session) {
  Status first_failure;
  for (InodeId after;;) {
    ASSIGN_OR_RETURN(const std::vector<InodeId> page, ReadPage(session, after));
    if (page.empty()) return first_failure;
    std::vector<File> files;
    for (InodeId inode : page) files.push_back({.inode = inode});
    SettlePage(session, files);
    for (const File& file : files) {
      if (first_failure.ok()) first_failure = file.status;
    }
    after = page.back();
  }
}

Result<std::vector<InodeId>> SessionSettler::ReadPage(Incarnation session, InodeId after) const {
  std::vector<InodeId> inodes;
  Status status;
  RETURN_IF_ERROR(executor_.Committed()->Scan(WriteOpenKey(session, InodeId(after.value() + 1)),
                                              IdRange(Table::kWriteOpen, session.value()).end,
                                              kPage, [&](std::string_view key, std::string_view) {
                                                Result<uint64_t> inode = KeyField(key, 1);
                                                status = inode.status();
                                                if (inode.ok()) inodes.emplace_back(*inode);
                                                return status.ok();
                                              }));
  if (!status.ok()) return status;
  return inodes;
}

void SessionSettler::SettlePage(Incarnation session, std::vector<File>& files) {
  {
    const std::shared_ptr<const ReadView> view = executor_.Committed();
    for (File& file : files) LookAt(*view, file);
  }
  std::vector<uint64_t> reach(files.size(), 0);
  Probe(files, &reach);
  Store(session, files, reach);
}

// The chunks must be looked at after the inode. While a tail is being trimmed they must not be
// looked at at all: the epoch is the new one already, and the bytes are still there.
void SessionSettler::LookAt(const ReadView& view, File& file) {
  const Result<std::optional<std::string>> row = view.Get(InodeKey(file.inode));
  if (!row.ok()) {
    file.status = row.status();
    return;
  }
  file.gone = !row->has_value();
  if (file.gone) return;
  const Result<Inode> inode = DecodeInode(file.inode, **row);
  file.status = inode.status();
  if (!inode.ok()) return;
  file.gone = !inode->IsRegular();
  if (file.gone) return;
  file.epoch = inode->size_epoch;
  file.job = {.data_id = inode->data_id, .layout = inode->layout, .from_bytes = inode->size};
  const Status intent = ReadTruncateIntent(view, file.inode).status();
  if (intent.code() == Code::kNoData) return;
  file.status = !intent.ok() ? intent
                             : Status(Code::kBusy, "settle inode " + ToString(file.inode) +
                                                       ": its tail is being trimmed");
}

void SessionSettler::Probe(std::vector<File>& files, std::vector<uint64_t>* reach) {
  std::vector<ProbeJob> jobs;
  std::vector<size_t> file_of;
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i].gone || !files[i].status.ok()) continue;
    jobs.push_back(files[i].job);
    file_of.push_back(i);
  }
  if (jobs.empty()) return;
  const auto found = prober_.Reach(jobs, Clock::System().Now() + probe_timeout_);
  for (size_t i = 0; i < jobs.size(); ++i) {
    File& file = files[file_of[i]];
    file.status = found[i].status().With("settle inode " + ToString(file.inode));
    if (found[i].ok()) (*reach)[file_of[i]] = *found[i];
  }
}

// All files' steps are queued together, so that one group commit serves them.
void SessionSettler::Store(Incarnation session, std::vector<File>& files,
                           const std::vector<uint64_t>& reach) {
  std::vector<std::pair<File*, std::future<Status>>> answers;
  for (size_t i = 0; i < files.size(); ++i) {
    File& file = files[i];
    if (!file.status.ok()) continue;
    auto promise = std::make_shared<std::promise<Status>>();
    answers.emplace_back(&file, promise->get_future());
    executor_.Submit(
        std::nullopt,
        [session, inode = file.inode, gone = file.gone, job = file.job, epoch = file.epoch,
         end = reach[i]](OpContext& ctx) -> Result<std::string> {
          if (!gone) return SettleInStore(ctx, session, inode, job, epoch, end);
          RETURN_IF_ERROR(DropWriteOpen(ctx, session, inode));
          return std::string();
        },
        [promise](const Result<std::string>& answer) { promise->set_value(answer.status()); });
  }
  for (auto& [file, answer] : answers) file->status = answer.get();
}

}  // namespace sheaf::meta
