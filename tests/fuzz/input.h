#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sheaf::fuzz {

// A fuzzer's input, taken apart from the front; past the end everything is zero or empty. What the
// corpus writer puts together with Piece comes out of TakePiece.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return left_.empty(); }
  uint8_t TakeByte() {
    if (left_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(left_.front());
    left_.remove_prefix(1);
    return byte;
  }
  uint16_t TakeU16() {
    const uint8_t low = TakeByte();
    return static_cast<uint16_t>(low | TakeByte() << 8);
  }
  std::string_view TakePiece() {
    const size_t size = std::min<size_t>(TakeU16(), left_.size());
    const std::string_view piece = left_.substr(0, size);
    left_.remove_prefix(size);
    return piece;
  }
  std::string_view TakeRest() {
    const std::string_view rest = left_;
    left_ = {};
    return rest;
  }

 private:
  std::string_view left_;
};

// For the corpus: at most 65535 bytes behind their length.
inline std::string Piece(std::string_view bytes) {
  std::string out;
  out.push_back(static_cast<char>(bytes.size()));
  out.push_back(static_cast<char>(bytes.size() >> 8));
  return out.append(bytes);
}

}  // namespace sheaf::fuzz
