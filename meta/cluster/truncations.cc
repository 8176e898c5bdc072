#include "meta/cluster/truncations.h"

#include <optional>
#include <utility>
#include <vector>

#include "common/log.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

Truncations::Truncations(Executor& executor, ChunkTrimmer& trimmer,
                         const TruncationOptions& options)
    : executor_(executor),
      trimmer_(trimmer),
      options_(options),
      pool_(options.threads, options.max_queue),
      thread_([this] { Loop(); }) {}

Truncations::~Truncations() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Truncations::Truncate(const RequestId& id, proto::TruncateRequest request, Done done) {
  const InodeId inode(request.inode());
  auto after = [this, inode, done = std::move(done)](Result<std::string> answer) {
    if (!answer.ok()) return done(std::move(answer));
    auto finish = [this, inode, done, answer] {
      Status status = Finish(inode, Clock::System().Now() + options_.call_timeout);
      done(status.ok() ? answer : Result<std::string>(status));
    };
    // Growing, or to the same length: the view shows whether anything is left to trim.
    if (ReadTruncateIntent(*executor_.Committed(), inode).status().code() == Code::kNoData) {
      return done(std::move(answer));
    }
    if (!pool_.Submit(std::move(finish))) {
      done(Status(Code::kBusy, "truncate inode " + ToString(inode) + ": too many are under way"));
    }
  };
  executor_.Submit(id, Bind(&meta::Truncate, std::move(request)), std::move(after));
}

// Waits for its turn on the file.
Status Truncations::Finish(InodeId inode, Clock::Instant deadline) {
  {
    std::unique_lock lock(mutex_);
    const Clock::Instant left = deadline - Clock::System().Now();
    const bool free =
        changed_.wait_for(lock, left, [&] { return stopping_ || !busy_.contains(inode); });
    if (!free || stopping_) {
      return {Code::kUnavailable,
              "truncate inode " + ToString(inode) + ": its chunks are not trimmed yet"};
    }
    busy_.insert(inode);
  }
  Status status = FinishRounds(inode, deadline);
  {
    std::lock_guard lock(mutex_);
    busy_.erase(inode);
  }
  changed_.notify_all();
  if (status.ok()) return status;
  return {Code::kUnavailable, "truncate inode " + ToString(inode) +
                                  ": its chunks are not trimmed yet: " + status.ToString()};
}

// Order: the chains have trimmed durably before the intent goes. A truncate that came in between
// has left another intent, which is trimmed in turn.
Status Truncations::FinishRounds(InodeId inode, Clock::Instant deadline) {
  for (int round = 0; round < kMaxRounds; ++round) {
    Result<TruncateIntent> intent = ReadTruncateIntent(*executor_.Committed(), inode);
    if (intent.status().code() == Code::kNoData) return Status::Ok();
    if (!intent.ok()) return intent.status();
    const TrimJob job{
        .data_id = intent->data_id, .layout = intent->layout, .keep_bytes = intent->keep_bytes};
    RETURN_IF_ERROR(trimmer_.Trim(std::span(&job, 1), deadline).front());
    auto clear = [inode, intent = *intent](OpContext& ctx) -> Result<std::string> {
      RETURN_IF_ERROR(FinishTruncate(ctx, inode, intent));
      return std::string();
    };
    RETURN_IF_ERROR(executor_.Run(std::nullopt, std::move(clear)).status());
  }
  return {Code::kBusy, "it is truncated again and again"};
}

void Truncations::Loop() {
  for (;;) {
    Status status = FinishPending();
    if (!status.ok()) LogWarn("pending truncates: {}", status.ToString());
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, options_.interval, [this] { return stopping_; })) return;
  }
}

Status Truncations::FinishPending() {
  std::vector<InodeId> inodes;
  Status status;
  const KeyRange range = TableRange(Table::kTruncateIntent);
  RETURN_IF_ERROR(executor_.Committed()->Scan(range.begin, range.end, kPage,
                                              [&](std::string_view key, std::string_view) {
                                                Result<uint64_t> inode = KeyField(key, 0);
                                                if (inode.ok()) inodes.emplace_back(*inode);
                                                status = inode.status();
                                                return status.ok();
                                              }));
  RETURN_IF_ERROR(status);
  pending_ = inodes.size();
  for (InodeId inode : inodes) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return Status::Ok();
      if (busy_.contains(inode)) continue;
    }
    status = Finish(inode, Clock::System().Now() + options_.call_timeout);
    if (!status.ok()) LogDebug("{}", status.ToString());
  }
  return Status::Ok();
}

}  // namespace sheaf::meta
