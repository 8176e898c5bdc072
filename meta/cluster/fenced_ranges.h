#pragma once

#include <cstdint>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

class ReadView;

// The incarnations of ended sessions, as rising ranges with gaps between them. Every number given
// out whose session is not live belongs to it, so there are at most as many ranges as live sessions
// and one. A value.
class FencedRanges {
 public:
  using Message = google::protobuf::RepeatedPtrField<proto::IncarnationRange>;

  FencedRanges() = default;
  explicit FencedRanges(const Message& ranges);
  // All below `next`, the first number not given out, but `live`, which rises.
  FencedRanges(const std::vector<Incarnation>& live, uint64_t next);

  // By one committed state: what is opened after it has a higher number, so it is not in it.
  static Result<FencedRanges> Load(const ReadView& view);

  bool Contains(Incarnation session) const;
  void CopyTo(Message* ranges) const;
  friend bool operator==(const FencedRanges&, const FencedRanges&) = default;

 private:
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
    friend bool operator==(const Range&, const Range&) = default;
  };
  std::vector<Range> ranges_;
};

}  // namespace sheaf::meta
