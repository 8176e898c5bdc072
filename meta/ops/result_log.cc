#include "meta/ops/result_log.h"

#include <algorithm>
#include <utility>

#include "meta/ops/executor.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

std::string Describe(const RequestId& id) {
  return "request " + std::to_string(id.sequence) + " of session " + ToString(id.incarnation);
}

Result<std::string> Unpack(StoredResult stored) {
  if (stored.code == Code::kOk) return std::move(stored.body);
  return Status(stored.code, std::move(stored.body));
}

}  // namespace

Status ResultLog::CheckSession(const OpContext& ctx, Incarnation session) {
  ASSIGN_OR_RETURN(const auto row, ctx.Get(SessionKey(session)));
  if (!row) {
    return {Code::kNoSession, "session " + ToString(session) + ": unknown or expired"};
  }
  ASSIGN_OR_RETURN(const Session decoded, DecodeSession(*row));
  if (decoded.fenced) return {Code::kNoSession, "session " + ToString(session) + ": fenced"};
  return Status::Ok();
}

Result<ResultLog::SessionRows*> ResultLog::Load(const OpContext& ctx, Incarnation session) {
  const auto found = sessions_.find(session);
  if (found != sessions_.end()) return &found->second;
  if (sessions_.size() >= kMaxSessions) sessions_.clear();

  SessionRows rows;
  Status bad;
  const KeyRange range = IdRange(Table::kResult, session.value());
  RETURN_IF_ERROR(
      ctx.Scan(range.begin, range.end, 0, [&](std::string_view key, std::string_view value) {
        const Result<uint64_t> sequence = KeyField(key, 1);
        const Result<StoredResult> stored = DecodeResult(value);
        bad = !sequence.ok() ? sequence.status() : stored.status();
        if (!bad.ok()) return false;
        rows.sequences.insert(*sequence);
        rows.lowest_outstanding = std::max(rows.lowest_outstanding, stored->lowest_outstanding);
        return true;
      }));
  RETURN_IF_ERROR(bad);
  return &(sessions_[session] = std::move(rows));
}

Result<std::optional<Result<std::string>>> ResultLog::Find(const OpContext& ctx,
                                                           const RequestId& id) {
  const Status session = CheckSession(ctx, id.incarnation);
  if (!session.ok()) {
    sessions_.erase(id.incarnation);
    return session;
  }
  if (id.sequence == 0 || id.lowest_outstanding > id.sequence) {
    return Status(Code::kInvalid, Describe(id) + ": lowest outstanding is " +
                                      std::to_string(id.lowest_outstanding));
  }
  ASSIGN_OR_RETURN(const SessionRows* rows, Load(ctx, id.incarnation));
  if (id.sequence < rows->lowest_outstanding) {
    return Status(Code::kNoSession, Describe(id) + ": answered before (lowest outstanding " +
                                        std::to_string(rows->lowest_outstanding) + ")");
  }
  if (rows->sequences.contains(id.sequence)) {
    ASSIGN_OR_RETURN(const auto row, ctx.Get(ResultKey(id.incarnation, id.sequence)));
    if (!row) return Status(Code::kCorrupt, Describe(id) + ": stored result is missing");
    ASSIGN_OR_RETURN(StoredResult stored, DecodeResult(*row));
    return std::optional(Unpack(std::move(stored)));
  }
  if (id.sequence - std::max(id.lowest_outstanding, rows->lowest_outstanding) >=
      Executor::kMaxOutstanding) {
    return Status(Code::kBusy, Describe(id) + ": too many requests outstanding");
  }
  return std::optional<Result<std::string>>();
}

void ResultLog::Store(OpContext& ctx, const RequestId& id, const Result<std::string>& answer) {
  SessionRows& rows = sessions_.at(id.incarnation);
  rows.lowest_outstanding = std::max(rows.lowest_outstanding, id.lowest_outstanding);
  const StoredResult stored = {.lowest_outstanding = rows.lowest_outstanding,
                               .code = answer.status().code(),
                               .body = answer.ok() ? *answer : answer.status().message()};
  ctx.Put(ResultKey(id.incarnation, id.sequence), EncodeResult(stored));
  rows.sequences.insert(id.sequence);
  for (size_t dropped = 0;
       dropped < kMaxDropped && *rows.sequences.begin() < rows.lowest_outstanding; ++dropped) {
    ctx.Delete(ResultKey(id.incarnation, *rows.sequences.begin()));
    rows.sequences.erase(rows.sequences.begin());
  }
}

}  // namespace sheaf::meta
