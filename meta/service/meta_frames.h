#pragma once

#include <memory>

#include "common/transport/server.h"
#include "meta/service/meta_calls.h"

namespace sheaf::meta {

// The namespace over the framed transport: a call takes a fraction of what gRPC spends on it, and
// its reads run where they were received. What a frame carries are the messages of
// proto/meta.proto. Thread-safe.
class MetaFrames {
 public:
  // `calls` outlives it. kExists names an address in use.
  static Result<std::unique_ptr<MetaFrames>> Start(MetaCalls& calls,
                                                   const transport::Server::Options& options);
  // Calls under way are answered.
  ~MetaFrames() = default;

  const transport::Server& server() const { return *server_; }

 private:
  explicit MetaFrames(MetaCalls& calls) : calls_(calls) {}
  void Handle(std::shared_ptr<transport::ServerCall> call, std::span<const uint8_t> message);

  MetaCalls& calls_;
  std::unique_ptr<transport::Server> server_;
};

}  // namespace sheaf::meta
