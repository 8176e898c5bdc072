#include "meta/cluster/reclaimer.h"

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "common/log.h"
#include "meta/kv/kv_store.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {

Reclaimer::Reclaimer(Executor& executor, ChunkTrimmer& trimmer, const Clock& clock,
                     MayReclaim may_reclaim, const ReclaimerOptions& options)
    : executor_(executor),
      trimmer_(trimmer),
      clock_(clock),
      may_reclaim_(std::move(may_reclaim)),
      options_(options),
      thread_([this] { Loop(); }) {}

Reclaimer::~Reclaimer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Reclaimer::Kick() {
  {
    std::lock_guard lock(mutex_);
    kicked_ = true;
  }
  changed_.notify_all();
}

bool Reclaimer::Pause(Clock::Instant duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [this] { return stopping_; });
}

void Reclaimer::Loop() {
  for (;;) {
    Status status = Walk();
    if (!status.ok()) LogWarn("the removal queue could not be walked: {}", status.ToString());
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, options_.interval, [this] { return stopping_ || kicked_; });
    if (stopping_) return;
    kicked_ = false;
  }
}

Result<uint64_t> Reclaimer::CountBacklog(const ReadView& view) {
  const KeyRange range = TableRange(Table::kRemoval);
  uint64_t count = 0;
  RETURN_IF_ERROR(view.Scan(range.begin, range.end, kMaxCounted, [&](auto, auto) {
    ++count;
    return true;
  }));
  return count;
}

Result<std::vector<Reclaimer::Entry>> Reclaimer::ReadPage(RemovalEpoch after,
                                                          RemovalEpoch* last) const {
  std::vector<Entry> entries;
  Status status;
  auto read = [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t epoch, KeyField(key, 0));
    ASSIGN_OR_RETURN(Removal removal, DecodeRemoval(value));
    *last = RemovalEpoch(epoch);
    entries.push_back({*last, std::move(removal)});
    return Status::Ok();
  };
  RETURN_IF_ERROR(executor_.Committed()->Scan(RemovalKey(RemovalEpoch(after.value() + 1)),
                                              TableRange(Table::kRemoval).end, kPage,
                                              [&](auto key, auto value) {
                                                status = read(key, value);
                                                return status.ok();
                                              }));
  if (!status.ok()) return status;
  return entries;
}

bool Reclaimer::IsDue(const Entry& entry) const {
  if (!may_reclaim_(entry.epoch, entry.removal)) return false;
  auto failing = failing_.find(entry.epoch);
  if (failing != failing_.end()) return clock_.Now() >= failing->second.next_try;
  return failing_.size() < options_.max_failing;
}

Status Reclaimer::Walk() {
  ASSIGN_OR_RETURN(uint64_t backlog, CountBacklog(*executor_.Committed()));
  backlog_ = backlog;
  const Clock::Instant spacing = std::chrono::nanoseconds(std::chrono::seconds(1)) *
                                 options_.batch / std::max<uint64_t>(options_.max_files_per_s, 1);
  std::vector<Entry> batch;
  auto flush = [&] {
    const Clock::Instant begin = clock_.Now();
    ReclaimBatch(std::exchange(batch, {}));
    const Clock::Instant spent = clock_.Now() - begin;
    return Pause(std::max(spacing - spent, Clock::Instant::zero()));
  };
  for (RemovalEpoch after;;) {
    RemovalEpoch last;
    ASSIGN_OR_RETURN(std::vector<Entry> page, ReadPage(after, &last));
    for (Entry& entry : page) {
      if (IsDue(entry)) batch.push_back(std::move(entry));
      if (batch.size() == options_.batch && !flush()) return Status::Ok();
    }
    if (page.size() < kPage) break;
    after = last;
  }
  if (!batch.empty()) flush();
  return Status::Ok();
}

// Order: chunks are durably gone before the rows that name them.
void Reclaimer::ReclaimBatch(std::vector<Entry> batch) {
  std::vector<Status> results(batch.size());
  TrimBatch(batch, &results);
  ForgetRows(batch, &results);
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!results[i].ok()) {
      NoteFailure(batch[i], results[i]);
      continue;
    }
    failing_.erase(batch[i].epoch);
    ++reclaimed_;
    --backlog_;
  }
}

void Reclaimer::TrimBatch(const std::vector<Entry>& batch, std::vector<Status>* results) {
  std::vector<TrimJob> jobs;
  std::vector<size_t> entry_of;
  for (size_t i = 0; i < batch.size(); ++i) {
    const Removal& removal = batch[i].removal;
    if (!removal.data_id.IsSet()) continue;
    jobs.push_back({.data_id = removal.data_id, .layout = removal.layout});
    entry_of.push_back(i);
  }
  if (jobs.empty()) return;
  const Clock::Instant deadline = Clock::System().Now() + options_.call_timeout;
  std::vector<Status> trimmed = trimmer_.Trim(jobs, deadline);
  for (size_t i = 0; i < jobs.size(); ++i) (*results)[entry_of[i]] = std::move(trimmed[i]);
}

// All entries' steps are queued together, so that one group commit serves them.
void Reclaimer::ForgetRows(const std::vector<Entry>& batch, std::vector<Status>* results) {
  std::vector<size_t> left;
  for (size_t i = 0; i < batch.size(); ++i) {
    if ((*results)[i].ok()) left.push_back(i);
  }
  while (!left.empty()) {
    std::vector<std::future<Result<std::string>>> answers;
    for (size_t i : left) {
      auto promise = std::make_shared<std::promise<Result<std::string>>>();
      answers.push_back(promise->get_future());
      executor_.Submit(
          std::nullopt,
          [epoch = batch[i].epoch](OpContext& ctx) -> Result<std::string> {
            ASSIGN_OR_RETURN(const bool more, FinishRemoval(ctx, epoch, kRowsPerStep));
            return std::string(more ? "more" : "");
          },
          [promise](Result<std::string> answer) { promise->set_value(std::move(answer)); });
    }
    std::vector<size_t> more;
    for (size_t k = 0; k < left.size(); ++k) {
      Result<std::string> answer = answers[k].get();
      if (!answer.ok()) (*results)[left[k]] = answer.status();
      if (answer.ok() && !answer->empty()) more.push_back(left[k]);
    }
    left = std::move(more);
  }
}

void Reclaimer::NoteFailure(const Entry& entry, const Status& status) {
  Failing& failing = failing_[entry.epoch];
  failing.delay = failing.delay.count() == 0 ? options_.first_retry
                                             : std::min(failing.delay * 2, options_.longest_retry);
  failing.next_try = clock_.Now() + failing.delay;
  LogDebug("removal {} of inode {} waits {} ms: {}", entry.epoch.value(),
           entry.removal.inode.value(), failing.delay.count(), status.ToString());
  ++failures_;  // last: who sees it may count on next_try being set
}

}  // namespace sheaf::meta
