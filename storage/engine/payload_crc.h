#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sheaf::storage {

// Checksums of a payload that goes to `offset` of a chunk, in one pass over the bytes.
struct PayloadCrcs {
  uint32_t total = 0;           // CRC32C of the payload
  std::vector<uint32_t> units;  // of each whole unit it covers, the first one first
};
PayloadCrcs ComputePayloadCrcs(uint32_t offset, std::span<const uint8_t> bytes);

// Of a unit that begins with `bytes` and goes on with zeros.
uint32_t PaddedUnitCrc(std::span<const uint8_t> bytes);

// Joins checksums of units into the one of a byte range that begins and ends within units.
class RangeCrc {
 public:
  // `unit` is a verified whole unit; [begin, end) the part of it that belongs to the range.
  void Add(std::span<const uint8_t> unit, uint32_t unit_crc, uint32_t begin, uint32_t end);
  uint32_t value() const { return crc_; }

 private:
  uint32_t crc_ = 0;
};

}  // namespace sheaf::storage
