#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "common/clock.h"
#include "common/status.h"
#include "meta/check/namespace_check.h"
#include "proto/admin.pb.h"

namespace sheaf::meta {

class Executor;

// The check that is under way, if any. It reads one state of the store throughout, which keeps what
// is overwritten meanwhile from being compacted away: so a check that nobody steps any more is
// dropped, and a new one may begin.
//
// Thread safety: all calls, from any thread that may block; one is served at a time.
class CheckRuns {
 public:
  struct Options {
    std::chrono::milliseconds idle{60'000};
    std::chrono::milliseconds tick{1000};  // between looks for one that is given up
    size_t share = LinkCheck::kShare;
  };
  static constexpr uint32_t kMaxRows = 65536;  // of one step
  static constexpr int kMaxOrphans = 4096;     // of one call

  // `executor` and `clock` outlive this.
  CheckRuns(Executor& executor, const Clock& clock, const Options& options);
  ~CheckRuns();

  Result<proto::BeginCheckResponse> Begin();
  Result<proto::StepCheckResponse> Step(const proto::StepCheckRequest& request);
  Result<proto::RepairFindingResponse> Repair(const proto::RepairFindingRequest& request);
  Result<proto::EndCheckResponse> End(const proto::EndCheckRequest& request);
  Result<proto::ListDataResponse> List(const proto::ListDataRequest& request);
  Result<proto::GetDataResponse> Get(const proto::GetDataRequest& request);
  Result<proto::DropOrphansResponse> DropOrphans(const proto::DropOrphansRequest& request);

 private:
  struct Run {
    std::unique_ptr<NamespaceCheck> check;
    std::shared_ptr<const ReadView> data_view;  // of the listing that is under way
  };

  // Both with mutex_ held. The second:
  // kStale when it is not `check` that runs.
  void DropIdle();
  Status Touch(uint64_t check);
  void Loop();

  Executor& executor_;
  const Clock& clock_;
  const Options options_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Run run_;
  uint64_t current_ = 0;  // 0: none
  uint64_t last_ = 0;
  Clock::Instant touched_{};
  bool stopping_ = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::meta
