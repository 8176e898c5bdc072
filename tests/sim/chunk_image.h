#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "common/ids.h"
#include "common/layout.h"

namespace sheaf::sim {

// The bytes of a chunk, small: each cell holds the tag of the write that wrote it last.
struct Content {
  static constexpr uint32_t kCells = 4;

  std::array<uint16_t, kCells> cells{};
  uint8_t length = 0;
  bool exists = false;

  friend bool operator==(const Content&, const Content&) = default;

  void Write(uint32_t offset, uint32_t count, uint16_t tag) {
    exists = true;
    std::fill_n(cells.begin() + offset, count, tag);
    length = static_cast<uint8_t>(std::max<uint32_t>(length, offset + count));
  }
  // Whether it changed anything.
  bool Truncate(uint32_t to, bool extend) {
    if (exists ? to == length || (to > length && !extend) : !extend) return false;
    exists = true;
    length = static_cast<uint8_t>(to);
    std::fill(cells.begin() + to, cells.end(), uint16_t{0});
    return true;
  }
  void Remove() { *this = {}; }

  uint64_t Bits() const {
    uint64_t bits = 0;
    for (uint16_t cell : cells) bits = bits << 16 | cell;
    return bits;
  }
  uint64_t Hash() const { return MixBits(Bits() ^ MixBits(length * 2u + (exists ? 1u : 0u))); }

  std::string ToString() const {
    if (!exists) return "absent";
    std::string text = "[";
    for (uint32_t i = 0; i < length; ++i) text += (i == 0 ? "" : " ") + std::to_string(cells[i]);
    return text + "]";
  }
};

// A chunk as an engine has it.
struct Image {
  Content content;
  ChunkVersion version;  // 0: the chunk does not exist
  ChainVersion chain_version;

  uint32_t checksum() const { return content.exists ? static_cast<uint32_t>(content.Hash()) : 0; }
  friend bool operator==(const Image&, const Image&) = default;
};

}  // namespace sheaf::sim
