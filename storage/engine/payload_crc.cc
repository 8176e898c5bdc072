#include "storage/engine/payload_crc.h"

#include <algorithm>
#include <array>

#include "common/crc32c.h"
#include "storage/engine/chunk_record.h"

namespace sheaf::storage {

PayloadCrcs ComputePayloadCrcs(uint32_t offset, std::span<const uint8_t> bytes) {
  PayloadCrcs crcs;
  const size_t head = std::min<size_t>(bytes.size(), (kUnitBytes - offset % kUnitBytes) % kUnitBytes);
  crcs.total = Crc32c(bytes.first(head));
  bytes = bytes.subspan(head);
  crcs.units.reserve(bytes.size() / kUnitBytes);
  while (bytes.size() >= kUnitBytes) {
    const uint32_t crc = Crc32c(bytes.first(kUnitBytes));
    crcs.units.push_back(crc);
    crcs.total = Crc32cCombine(crcs.total, crc, kUnitBytes);
    bytes = bytes.subspan(kUnitBytes);
  }
  crcs.total = Crc32cExtend(crcs.total, bytes);
  return crcs;
}

uint32_t PaddedUnitCrc(std::span<const uint8_t> bytes) {
  static constexpr std::array<uint8_t, kUnitBytes> kZeros{};
  return Crc32cExtend(Crc32c(bytes), std::span(kZeros).subspan(bytes.size()));
}

void RangeCrc::Add(std::span<const uint8_t> unit, uint32_t unit_crc, uint32_t begin,
                   uint32_t end) {
  if (begin == 0 && end == kUnitBytes) {
    crc_ = Crc32cCombine(crc_, unit_crc, kUnitBytes);
  } else {
    crc_ = Crc32cExtend(crc_, unit.subspan(begin, end - begin));
  }
}

}  // namespace sheaf::storage
