#include "storage/replica/staging.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sheaf::storage {
namespace {

std::string NameOf(const StagePart& part) {
  return "stage " + std::to_string(part.key.number) + " of chain " + ToString(part.key.chain);
}

}  // namespace

uint32_t StageCutter::WantsAt() const { return cut_ + std::min(part_, total_ - cut_); }

std::optional<StageCutter::Cut> StageCutter::Next(size_t landed) {
  const uint32_t end = WantsAt();
  if (AllCut() || landed < end) return std::nullopt;
  const Cut cut{cut_, end - cut_};
  cut_ = end;
  return cut;
}

Status StageShelf::Check(const StagePart& part) const {
  const auto bad = [&](const std::string& why) {
    return Status(Code::kInvalid, NameOf(part) + ": " + why);
  };
  if (part.key.number == 0) return bad("its number is 0");
  if (part.total == 0 || part.total > limits_.largest)
    return bad("a total of " + std::to_string(part.total) + " bytes");
  if (part.length == 0) return bad("a part without payload");
  if (uint64_t{part.offset} + part.length > part.total)
    return bad("the part at offset " + std::to_string(part.offset) + " ends past the total of " +
               std::to_string(part.total) + " bytes");
  return Status::Ok();
}

Status StageShelf::Begin(const StagePart& part, Clock::Instant now, const Open& open) {
  if (stages_.size() >= limits_.stages || bytes_ + part.total > limits_.bytes)
    return {Code::kBusy, NameOf(part) + ": too many under way (" + std::to_string(stages_.size()) +
                             " of " + std::to_string(bytes_) + " bytes)"};
  ASSIGN_OR_RETURN(Room room, open(part.total));
  CHECK(room.buffer->span().size() >= part.total, "a stage's buffer is too short");
  stages_[part.key] = {std::move(room), part.total, 0, now + limits_.life};
  bytes_ += part.total;
  return Status::Ok();
}

Result<StageShelf::Place> StageShelf::Expect(const StagePart& part, Clock::Instant now,
                                             const Open& open) {
  auto found = stages_.find(part.key);
  if (Status status = Check(part); !status.ok()) {
    End(found);
    return status;
  }
  if (found == stages_.end() && part.offset == 0) {
    RETURN_IF_ERROR(Begin(part, now, open));
    found = stages_.find(part.key);
  }
  if (found == stages_.end()) return Status(Code::kCancelled, NameOf(part) + ": it has ended");
  Stage& stage = found->second;
  if (part.total != stage.total || part.offset != stage.landed) {
    const std::string at = std::to_string(stage.landed);
    End(found);
    return Status(Code::kCancelled, NameOf(part) + ": not its next part, at " + at + " (offset " +
                                        std::to_string(part.offset) + ", total " +
                                        std::to_string(part.total) + ")");
  }
  return Place{stage.room.buffer, stage.room.buffer->span().subspan(part.offset, part.length)};
}

Status StageShelf::Landed(const StagePart& part) {
  const auto found = stages_.find(part.key);
  if (found == stages_.end() || found->second.landed != part.offset)
    return {Code::kCancelled, NameOf(part) + ": it has ended"};
  Stage& stage = found->second;
  stage.landed += part.length;
  if (stage.room.onward) stage.room.onward->Landed(stage.landed);
  return Status::Ok();
}

std::optional<StageShelf::Room> StageShelf::Take(const StageKey& key, uint32_t total) {
  const auto found = stages_.find(key);
  if (found == stages_.end()) return std::nullopt;
  std::optional<Room> room;
  const Stage& stage = found->second;
  if (stage.total == total && stage.landed == total) room = stage.room;
  End(found);
  return room;
}

void StageShelf::End(Stages::iterator stage) {
  if (stage == stages_.end()) return;
  bytes_ -= stage->second.total;
  stages_.erase(stage);
}

void StageShelf::Clear() {
  stages_.clear();
  bytes_ = 0;
}

void StageShelf::Expire(Clock::Instant now) {
  for (auto stage = stages_.begin(); stage != stages_.end();) {
    const auto next = std::next(stage);
    if (stage->second.ends <= now) End(stage);
    stage = next;
  }
}

}  // namespace sheaf::storage
