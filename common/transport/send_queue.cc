#include "common/transport/send_queue.h"

#include <algorithm>

#include "common/status.h"

namespace sheaf::transport {

bool SendQueue::Append(const FrameHeader& header, std::string_view message,
                       std::span<const uint8_t> payload) {
  const bool borrow = payload.size() > kCopiedPayload;
  const auto head = EncodeHeader(header);
  const size_t size = head.size() + message.size() + (borrow ? 0 : payload.size());
  std::string& run = OpenRun(size);
  run.append(reinterpret_cast<const char*>(head.data()), head.size());
  run.append(message);
  if (!borrow) run.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  owned_bytes_ += size;
  if (borrow) {
    CHECK(header.request_id != 0);
    parts_.push_back({.owned = {}, .borrowed = payload, .request_id = header.request_id});
  }
  return borrow;
}

std::string& SendQueue::OpenRun(size_t bytes) {
  const bool fits =
      !empty() && parts_.back().request_id == 0 && parts_.back().owned.size() + bytes <= kRunBytes;
  if (!fits) parts_.emplace_back();
  return parts_.back().owned;
}

size_t SendQueue::Gather(std::span<iovec> parts) const {
  size_t count = 0;
  size_t skip = offset_;
  for (size_t i = first_; i < parts_.size() && count < parts.size(); ++i) {
    const auto bytes = parts_[i].bytes().subspan(skip);
    parts[count++] = {const_cast<uint8_t*>(bytes.data()), bytes.size()};
    skip = 0;
  }
  return count;
}

void SendQueue::Advance(size_t bytes, std::vector<uint64_t>* released) {
  while (bytes > 0) {
    CHECK(!empty(), "more bytes sent than there were");
    Part& part = parts_[first_];
    const size_t left = part.bytes().size() - offset_;
    const size_t sent = std::min(bytes, left);
    bytes -= sent;
    if (part.request_id == 0) owned_bytes_ -= sent;
    if (sent < left) {
      offset_ += sent;
      return;
    }
    if (part.request_id != 0) released->push_back(part.request_id);
    part = Part();
    ++first_;
    offset_ = 0;
  }
  if (!empty()) return;
  parts_.clear();
  first_ = 0;
}

// Sent bytes of the part stay in front of the copy, so that offset_ keeps its meaning.
void SendQueue::Detach(uint64_t request_id) {
  for (size_t i = first_; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (part.request_id != request_id) continue;
    part.owned.assign(part.borrowed.begin(), part.borrowed.end());
    part.borrowed = {};
    part.request_id = 0;
    owned_bytes_ += part.owned.size() - (i == first_ ? offset_ : 0);
  }
}

}  // namespace sheaf::transport
