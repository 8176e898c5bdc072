#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "storage/replica/staging.h"
#include "storage/service/data_handler.h"
#include "storage/service/request.h"

namespace sheaf::storage {

// Large payloads that a neighbour sends ahead of their changes (storage/replica/staging.h), as they
// come by one connection. That a part has landed is answered with the last part, in one go: each
// answer by itself would wake a thread of the sender for news it has no use for.
class StagesOfConnection final : public ConnectionState {
 public:
  explicit StagesOfConnection(uint32_t max_payload) : shelf_({.largest = max_payload}) {}
  void GiveWay() override { shelf_.Clear(); }
  void CheckTimeLimits(Clock::Instant now) override {
    shelf_.Expire(now);
    AnswerLanded();
  }

  void OnPart(const StagePart& part, std::shared_ptr<FramedCall> call);
  void OnDrop(const StageKey& key, FramedCall& call);
  void AnswerLanded();
  StageShelf& shelf() { return shelf_; }

 private:
  // They hold credits of the connection, which others wait for.
  static constexpr size_t kMaxLanded = 32;

  StageShelf shelf_;
  std::vector<std::shared_ptr<FramedCall>> landed_;
};

// Where the part goes whose payload is about to come.
Result<StageShelf::Place> PlaceOfStage(DataHandler& data, ServiceContext& context,
                                       const PayloadAhead& ahead);
// It is there, or the stage is given up.
void OnStage(const FramedRequest& request, std::shared_ptr<FramedCall> call);
// False: the change did not come by a stage that is there in whole.
bool OnStagedChange(DataHandler& data, ServiceContext& context, const FramedRequest& request,
                    const std::shared_ptr<FramedCall>& call);

}  // namespace sheaf::storage
