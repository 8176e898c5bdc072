#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/guarded.h"
#include "meta/kv/kv_store.h"

namespace sheaf::meta {

// A KvStore in memory that keeps every version of every key. Thread-safe.
//
// Faults: writes can be made to fail, or held until they are let go, so that a test decides what
// falls into one group.
class MemoryKv final : public KvStore {
 public:
  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override;
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override;
  std::unique_ptr<ReadView> Snapshot() const override;
  Status Write(std::span<const KvChange> changes, bool sync) override;
  Status Recover() override;
  bool SpaceIsShort() override { return state_.Lock()->space_short; }

  // The next write answers this and changes nothing.
  void FailNextWrite(Status status) { state_.Lock()->failure = std::move(status); }
  // The next write answers kNoSpace and is applied once the store recovers, as a batch whose log
  // record was whole.
  void FailNextWriteLate() { state_.Lock()->late_failure = true; }
  // What Recover answers while it is not ok.
  void FailRecovery(Status status) { state_.Lock()->no_recovery = std::move(status); }
  void SetSpaceShort(bool is_short) { state_.Lock()->space_short = is_short; }
  // From now on writes wait, until Release.
  void HoldWrites() { state_.Lock()->held = true; }
  void Release();
  // Until a write waits.
  void AwaitHeldWrite();

  uint64_t writes() const { return state_.Lock()->version; }
  uint64_t unsynced_writes() const { return state_.Lock()->unsynced; }
  // Rows whose keys begin with `prefix`.
  std::map<std::string, std::string> Rows(std::string_view prefix = {}) const;

 private:
  friend class MemorySnapshot;

  struct State {
    // Values by the version that wrote them; none: deleted.
    std::map<std::string, std::map<uint64_t, std::optional<std::string>>, std::less<>> rows;
    uint64_t version = 0;
    uint64_t unsynced = 0;
    Status failure;
    Status no_recovery;
    bool late_failure = false;
    bool space_short = false;
    std::vector<std::pair<std::string, std::optional<std::string>>> late;
    bool held = false;
    bool waiting = false;
  };

  Result<std::optional<std::string>> GetAt(uint64_t version, std::string_view key) const;
  Status ScanAt(uint64_t version, std::string_view begin, std::string_view end, size_t limit,
                const Visitor& visitor) const;

  Guarded<State> state_;
  std::condition_variable changed_;
};

}  // namespace sheaf::meta
