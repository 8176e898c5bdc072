#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"

// Writing and reading the fields of a stored value. Both have the same calls, so that one list of
// fields describes a value in both directions (values.cc).

namespace sheaf::meta {

class ValueWriter {
 public:
  static constexpr bool kReading = false;

  // Both answer the version that the fields after it follow.
  uint8_t Version(uint8_t version) {
    bytes_.push_back(static_cast<char>(version));
    return version;
  }
  template <typename Unsigned>
  void Varint(Unsigned value) {
    uint64_t rest = value;
    for (; rest >= 0x80; rest >>= 7) bytes_.push_back(static_cast<char>(rest | 0x80));
    bytes_.push_back(static_cast<char>(rest));
  }
  template <typename Integer>
  void Fixed64(Integer value) {
    for (int shift = 0; shift < 64; shift += 8) {
      bytes_.push_back(static_cast<char>(static_cast<uint64_t>(value) >> shift));
    }
  }
  template <typename StrongId>
  void Id(StrongId id) {
    Varint(id.value());
  }
  void Text(const std::string& text, size_t max) {
    CHECK(text.size() <= max, "stored text is longer than its decoder allows");
    Varint(text.size());
    bytes_.append(text);
  }
  void Require(bool valid, const char* field) { CHECK(valid, field); }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Remembers its first failure and answers zeros after it, so that a list of fields needs no checks
// in between; Finish tells.
class ValueReader {
 public:
  static constexpr bool kReading = true;

  ValueReader(const char* what, std::string_view bytes) : what_(what), bytes_(bytes) {}

  uint8_t Version(uint8_t known);
  template <typename Unsigned>
  void Varint(Unsigned& value) {
    const uint64_t wide = ReadVarint();
    value = static_cast<Unsigned>(wide);
    Require(value == wide, "integer range");
  }
  template <typename Integer>
  void Fixed64(Integer& value) {
    value = static_cast<Integer>(ReadFixed64());
  }
  template <typename StrongId>
  void Id(StrongId& id) {
    typename StrongId::Representation value = 0;
    Varint(value);
    id = StrongId(value);
  }
  // The length is checked against what is there before memory is taken.
  void Text(std::string& text, size_t max);
  void Require(bool valid, const char* field);
  // Ok when every byte was read and nothing failed.
  Status Finish();

 private:
  uint64_t ReadVarint();
  uint64_t ReadFixed64();
  void Fail(Code code, const std::string& cause);
  size_t left() const { return bytes_.size() - position_; }

  const char* what_;
  std::string_view bytes_;
  size_t position_ = 0;
  Status failure_;
};

}  // namespace sheaf::meta
