#pragma once

#include "storage/service/request.h"

namespace sheaf::storage {

// Answers Method::kEcho: a ReadChunkRequest's `length` bytes, whatever they are, at most
// `max_payload`. A sign of life, and what the transport costs when nothing else is done.
class EchoHandler : public FramedHandler {
 public:
  explicit EchoHandler(uint32_t max_payload) : max_payload_(max_payload) {}
  void Handle(ServiceContext& context, FramedRequest request,
              std::shared_ptr<FramedCall> call) override;

 private:
  const uint32_t max_payload_;
};

}  // namespace sheaf::storage
