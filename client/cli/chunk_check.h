#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "client/cli/check_source.h"
#include "common/layout.h"
#include "common/status.h"
#include "proto/admin.pb.h"

namespace sheaf::cli {

// The chunks on every chain against the files: none whose data_id nothing names, none beyond its
// file's length, none on another chain than layout arithmetic says.
//
// The cluster goes on meanwhile, so what looks wrong is looked at again before it is told:
//  - An orphan is one that is still there after a newer state of the metadata did not name it
//    either. Rows of a file come before its chunks and go after them, and a data_id is never given
//    out again, so that cannot be a file that came or went meanwhile.
//  - A chunk is beyond the length when the file is the same before and after the chunk was looked
//    at again, nobody has it open for writing and no truncate is pending: its writer is gone.
//
// Files and chunks are both walked in shares of `share` data_ids, so that memory does not grow with
// the cluster. Not thread-safe.
class ChunkCheck {
 public:
  static constexpr size_t kShare = 1 << 20;     // files; 48 bytes each, twice that while read
  static constexpr size_t kMaxOrphans = 65536;  // told in one run; the next finds the rest

  using Tell = std::function<Status(const proto::Finding& finding)>;

  // `source` outlives this. `check` is under way there.
  ChunkCheck(CheckSource& source, uint64_t check, Tell tell, size_t share = kShare)
      : source_(source), check_(check), tell_(std::move(tell)), share_(share) {}

  Status Run();
  uint64_t chunks() const { return chunks_; }

 private:
  struct Data {
    uint64_t id = 0;
    uint64_t inode = 0;  // 0: not judged
    uint64_t size = 0;
    Layout layout;
  };
  struct Orphan {
    uint32_t chain = 0;
    ChunkId first;
    uint64_t chunks = 0;
  };
  // Half-open; end 0: no end.
  struct Share {
    uint64_t begin = 0;
    uint64_t end = 0;
    std::vector<Data> data;  // rising ids, one each
  };

  Status ReadTables();
  Result<Share> ReadShare(uint64_t begin);
  void Cut(Share& share) const;
  static void Sort(Share& share);
  Status CheckChain(uint32_t chain, const Share& share);
  Status CheckChunk(uint32_t chain, const proto::ChunkInfo& chunk, const Share& share);
  Status CheckPlace(uint32_t chain, const proto::ChunkInfo& chunk, const Data& data);
  Status CheckLength(uint32_t chain, const proto::ChunkInfo& chunk, const Data& data);
  void Suspect(uint32_t chain, const proto::ChunkInfo& chunk);
  Status TellOrphans();
  Result<bool> StillThere(const Orphan& orphan);

  CheckSource& source_;
  const uint64_t check_;
  const Tell tell_;
  const size_t share_;
  std::vector<uint32_t> chains_;
  std::unordered_map<uint32_t, std::vector<uint32_t>> tables_;
  std::map<uint64_t, Orphan> suspects_;        // by data_id
  std::unordered_set<uint64_t> told_lengths_;  // inodes: one line a file
  uint64_t chunks_ = 0;
};

}  // namespace sheaf::cli
