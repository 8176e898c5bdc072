#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

// Strong integers: a ChainId cannot be passed as a TargetId, nor a version as a length.
// Arithmetic is done on value() where it means something.

namespace sheaf {

template <typename Tag, typename Rep>
class StrongId {
 public:
  using Representation = Rep;

  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }
  // 0 is "none" for every id.
  constexpr bool IsSet() const { return value_ != 0; }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;

 private:
  Rep value_ = 0;
};

template <typename Tag, typename Rep>
std::string ToString(StrongId<Tag, Rep> id) {
  return std::to_string(id.value());
}

using InodeId = StrongId<struct InodeIdTag, uint64_t>;
using DataId = StrongId<struct DataIdTag, uint64_t>;          // names a file's bytes; never reused
using SizeEpoch = StrongId<struct SizeEpochTag, uint64_t>;    // raised by every truncate
using NodeId = StrongId<struct NodeIdTag, uint32_t>;
using TargetId = StrongId<struct TargetIdTag, uint32_t>;
using ChainId = StrongId<struct ChainIdTag, uint32_t>;
using ChainVersion = StrongId<struct ChainVersionTag, uint32_t>;
using ChunkVersion = StrongId<struct ChunkVersionTag, uint64_t>;
using MapVersion = StrongId<struct MapVersionTag, uint64_t>;
using Incarnation = StrongId<struct IncarnationTag, uint64_t>;  // one client session
using RemovalEpoch = StrongId<struct RemovalEpochTag, uint64_t>;

inline constexpr InodeId kRootInode{1};

// One chunk of one file's bytes.
struct ChunkId {
  DataId data_id;
  uint32_t index = 0;

  friend constexpr auto operator<=>(const ChunkId&, const ChunkId&) = default;
};

inline std::string ToString(const ChunkId& chunk) {
  return ToString(chunk.data_id) + "." + std::to_string(chunk.index);
}

}  // namespace sheaf

template <typename Tag, typename Rep>
struct std::hash<sheaf::StrongId<Tag, Rep>> {
  size_t operator()(sheaf::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>()(id.value());
  }
};

template <>
struct std::hash<sheaf::ChunkId> {
  size_t operator()(const sheaf::ChunkId& chunk) const noexcept {
    // Multiplied apart so that neighbouring chunks of one file spread over buckets.
    return (chunk.data_id.value() * 0x9e3779b97f4a7c15ull) ^ (chunk.index * 0xc2b2ae3d27d4eb4full);
  }
};
