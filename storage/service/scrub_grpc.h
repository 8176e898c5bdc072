#pragma once

#include <string>
#include <vector>

#include "proto/scrub.grpc.pb.h"
#include "storage/replica/replica_set.h"
#include "storage/scrub/scrubber.h"

namespace sheaf::storage {

// Scrubbing over gRPC, for operators. Answers from memory on gRPC's thread. Thread-safe.
class ScrubGrpc final : public proto::Scrub::CallbackService {
 public:
  struct Target {
    std::string uuid;
    Scrubber* scrubber = nullptr;
    const Engine* engine = nullptr;
  };
  // All outlive the server that this is registered with; `targets` are those of `replicas`, in
  // its order.
  ScrubGrpc(const ReplicaSet& replicas, std::vector<Target> targets, uint64_t mib_per_s)
      : replicas_(replicas), targets_(std::move(targets)), mib_per_s_(mib_per_s) {}

  grpc::ServerUnaryReactor* GetScrub(grpc::CallbackServerContext* context,
                                     const proto::GetScrubRequest* request,
                                     proto::GetScrubResponse* response) override;
  grpc::ServerUnaryReactor* StartScrub(grpc::CallbackServerContext* context,
                                       const proto::StartScrubRequest* request,
                                       proto::StartScrubResponse* response) override;

 private:
  Status Start(const std::string& uuid, uint32_t* started);

  const ReplicaSet& replicas_;
  const std::vector<Target> targets_;
  const uint64_t mib_per_s_;
};

}  // namespace sheaf::storage
