#include "storage/engine/payload_crc.h"

#include "tests/storage/engine/engine_rig.h"

namespace sheaf::storage {
namespace {

TEST(PayloadCrcTest, TotalAndUnitsAreThoseOfTheBytes) {
  for (uint32_t offset : {0u, 1u, 4095u, 4096u, 10000u}) {
    for (uint32_t size : {1u, 100u, 4095u, 4096u, 4097u, 8192u, 50000u}) {
      const Bytes bytes = RandomBytes(size, offset + size);
      const PayloadCrcs crcs = ComputePayloadCrcs(offset, bytes);
      EXPECT_EQ(crcs.total, Crc32c(bytes));
      uint32_t unit = (offset + 4095) / 4096;
      for (uint32_t crc : crcs.units) {
        EXPECT_EQ(crc, Crc32c(std::span(bytes).subspan(unit * 4096 - offset, 4096)));
        ++unit;
      }
      EXPECT_EQ(unit, std::max((offset + size) / 4096, (offset + 4095) / 4096));
    }
  }
}

}  // namespace
}  // namespace sheaf::storage
