#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sheaf {

// CRC32C (Castagnoli, RFC 3720 appendix B.4) as everyone writes it: initial value and final xor
// all ones, so that Crc32c("123456789") is 0xe3069283. Computed by ISA-L. Thread-safe.
uint32_t Crc32c(std::span<const uint8_t> bytes);

// Crc32c(a + b) from Crc32c(a) and more bytes b.
uint32_t Crc32cExtend(uint32_t crc, std::span<const uint8_t> bytes);

// Crc32c(a + b) from Crc32c(a), Crc32c(b) and the length of b in bytes. Constant work for
// power-of-two lengths, a few table look-ups a set bit of the length otherwise.
uint32_t Crc32cCombine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

}  // namespace sheaf
