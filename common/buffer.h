#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "common/status.h"

namespace sheaf {

inline constexpr size_t kDirectAlignment = 4096;  // what O_DIRECT needs of memory, offset, length

// Page-aligned memory for direct I/O; uninitialised. Size is rounded up to the alignment.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size)
      : size_((size + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment),
        data_(static_cast<uint8_t*>(std::aligned_alloc(kDirectAlignment, size_))) {
    CHECK(size_ == 0 || data_ != nullptr, "out of memory for " + std::to_string(size_) + " bytes");
  }

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }
  std::span<uint8_t> span() { return {data(), size_}; }
  std::span<const uint8_t> span() const { return {data(), size_}; }

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  size_t size_ = 0;
  std::unique_ptr<uint8_t, Free> data_;
};

}  // namespace sheaf
