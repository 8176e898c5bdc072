#include "meta/schema/value_io.h"

namespace sheaf::meta {

void ValueReader::Fail(Code code, const std::string& cause) {
  if (!failure_.ok()) return;
  failure_ = {code, std::string("decode ") + what_ + ": " + cause + " (byte " +
                        std::to_string(position_) + " of " + std::to_string(bytes_.size()) + ")"};
  position_ = bytes_.size();
}

uint8_t ValueReader::Version(uint8_t known) {
  if (left() == 0) {
    Fail(Code::kCorrupt, "empty");
    return 0;
  }
  const auto found = static_cast<uint8_t>(bytes_[position_++]);
  if (found == 0) Fail(Code::kCorrupt, "version 0");
  if (found > known) {
    Fail(Code::kInvalid, "version " + std::to_string(found) + " is newer than this program's " +
                             std::to_string(known));
  }
  return found;
}

uint64_t ValueReader::ReadVarint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (left() == 0) break;
    const auto byte = static_cast<uint8_t>(bytes_[position_++]);
    if (shift == 63 && byte > 1) break;  // more than 64 bits
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  Fail(Code::kCorrupt, "bad varint");
  return 0;
}

uint64_t ValueReader::ReadFixed64() {
  if (left() < 8) {
    Fail(Code::kCorrupt, "truncated");
    return 0;
  }
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) {
    value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes_[position_++])) << (8 * i);
  }
  return value;
}

void ValueReader::Text(std::string& text, size_t max) {
  const uint64_t length = ReadVarint();
  if (length > left() || length > max) return Fail(Code::kCorrupt, "text too long");
  text.assign(bytes_.substr(position_, length));
  position_ += length;
}

void ValueReader::Require(bool valid, const char* field) {
  if (!valid) Fail(Code::kCorrupt, std::string("bad ") + field);
}

Status ValueReader::Finish() {
  if (left() != 0) Fail(Code::kCorrupt, "trailing bytes");
  return failure_;
}

}  // namespace sheaf::meta
