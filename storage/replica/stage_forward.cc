#include "storage/replica/stage_forward.h"

#include <chrono>
#include <utility>

#include "proto/replica.pb.h"
#include "storage/replica/replica_messages.h"

namespace sheaf::storage {
namespace {

// As long as the stage lives at its receiver, at most.
constexpr std::chrono::seconds kPartTimeout{5};

}  // namespace

void StageForward::Landed(size_t bytes) {
  while (!over_ && !*failed_) {
    const auto cut = cutter_.Next(bytes);
    if (!cut) return;
    Send(*cut);
  }
}

void StageForward::Send(const StageCutter::Cut& cut) {
  begun_ = true;
  proto::StageRequest request = EncodeStage(route_.key);
  request.set_offset(cut.offset);
  request.set_total(total_);
  route_.counts->bytes += cut.length;
  route_.peers->Call(route_.to,
                     {.method = transport::Method::kStage,
                      .message = request.SerializeAsString(),
                      .payload = buffer_->span().subspan(cut.offset, cut.length),
                      .deadline = Clock::System().Now() + kPartTimeout,
                      .hop = route_.hop},
                     [buffer = buffer_, failed = failed_](const Result<transport::Reply>& reply) {
                       if (!reply.ok()) *failed = true;
                     });
}

uint64_t StageForward::Take(TargetId to, ChainVersion version) {
  if (over_) return 0;
  if (*failed_ || !cutter_.AllCut() || to != route_.to || version != route_.key.version) {
    GiveUp();
    return 0;
  }
  over_ = true;
  return route_.key.number;
}

void StageForward::GiveUp() {
  if (std::exchange(over_, true) || !begun_) return;
  ++route_.counts->lost;
  proto::StageRequest request = EncodeStage(route_.key);
  request.set_drop(true);
  route_.peers->Call(route_.to,
                     {.method = transport::Method::kStage,
                      .message = request.SerializeAsString(),
                      .deadline = Clock::System().Now() + kPartTimeout,
                      .hop = route_.hop},
                     [](const Result<transport::Reply>&) {});
}

}  // namespace sheaf::storage
