#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "client/cli/check_source.h"
#include "common/status.h"
#include "proto/admin.pb.h"

namespace sheaf::cli {

// One line of what `sheaf fsck` says.
struct Problem {
  std::string kind;  // "dangling_dentry"
  std::string text;
  bool repaired = false;
  std::string why_not;  // when it was tried
};

struct FsckResult {
  uint64_t repaired = 0;
  uint64_t left = 0;
  uint64_t rows = 0;  // of the last round
  uint64_t inodes = 0;
  uint64_t chunks = 0;
};

// Checks a cluster that serves, and mends it if told to. Mending one thing may show another (a name
// that is dropped leaves an inode without one), so rounds go on until one finds nothing to mend.
class FsckRun {
 public:
  static constexpr int kMaxRounds = 8;
  static constexpr size_t kMaxHeld = 100000;  // problems told of one round; the rest is counted

  struct Options {
    bool repair = false;
    // As each is known: what was repaired at once, what is left at the end.
    std::function<void(const Problem&)> tell;
    // "names: 120000 rows"
    std::function<void(const std::string&)> progress;
    // Between two looks at replicas that differ.
    std::chrono::milliseconds pause{1500};  // all looks together outlast a slow disk
  };
  // `source` outlives this.
  FsckRun(CheckSource& source, Options options) : source_(source), options_(std::move(options)) {}

  Result<FsckResult> Run();

 private:
  Status Round();
  Status CheckNames(uint64_t check);
  Status CheckChunks(uint64_t check);
  Status CheckReplicas();
  Status Handle(uint64_t check, const proto::Finding& finding);
  Status DropOrphans(uint64_t check);
  void Leave(const proto::Finding& finding, std::string why_not);
  void Repaired(const proto::Finding& finding);

  CheckSource& source_;
  const Options options_;
  FsckResult result_;
  std::vector<Problem> left_;  // of the round
  uint64_t left_count_ = 0;
  uint64_t repaired_in_round_ = 0;
  std::vector<proto::Finding> orphans_;
};

// "DANGLING_DENTRY" as `sheaf fsck --json` shows it.
std::string KindName(proto::FindingKind kind);

}  // namespace sheaf::cli
