#pragma once

#include <cstring>
#include <string>

#include "common/crc32c.h"
#include "common/transport/frame.h"

namespace sheaf::fuzz {

// Puts right the magic, version and checksum of each header in a stream of frames, without which
// hardly any input would get past the first one.
inline void Seal(std::string& stream, const transport::FrameLimits& limits) {
  using transport::kHeaderSize;
  for (size_t at = 0; at + kHeaderSize <= stream.size();) {
    auto* header = reinterpret_cast<uint8_t*>(stream.data() + at);
    std::memcpy(header, transport::kMagic.data(), transport::kMagic.size());
    header[4] = transport::kVersion;
    const uint32_t crc = Crc32c({header, kHeaderSize - sizeof(crc)});
    std::memcpy(header + kHeaderSize - sizeof(crc), &crc, sizeof(crc));
    const auto decoded =
        transport::DecodeHeader(std::span<const uint8_t, kHeaderSize>(header, kHeaderSize), limits);
    if (!decoded.ok()) return;
    at += kHeaderSize + decoded->body_length();
  }
}

}  // namespace sheaf::fuzz
