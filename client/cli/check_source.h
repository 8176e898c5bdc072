#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/ids.h"
#include "common/status.h"
#include "proto/admin.pb.h"
#include "proto/cluster.pb.h"
#include "proto/data.pb.h"

namespace sheaf::cli {

// What a check of a cluster asks it. Every call has a deadline. Not thread-safe.
class CheckSource {
 public:
  virtual ~CheckSource() = default;

  virtual Result<proto::ClusterMap> Map() = 0;
  virtual Result<uint64_t> BeginCheck() = 0;
  virtual Result<proto::StepCheckResponse> StepCheck(uint64_t check) = 0;
  virtual Result<proto::RepairFindingResponse> Repair(uint64_t check,
                                                      const proto::Finding& finding) = 0;
  virtual Status EndCheck(uint64_t check) = 0;
  virtual Result<proto::ListDataResponse> ListData(const proto::ListDataRequest& request) = 0;
  virtual Result<proto::GetDataResponse> GetData(uint64_t inode) = 0;
  virtual Result<proto::DropOrphansResponse> DropOrphans(
      const proto::DropOrphansRequest& request) = 0;
  // Chunks of a chain after `after`, of one data_id where it is given.
  virtual Result<proto::ListChunksResponse> ListChunks(uint32_t chain, std::optional<ChunkId> after,
                                                       std::optional<uint64_t> data_id,
                                                       uint32_t limit) = 0;
  // The same of one member: of its target. By the map that Map answered last; kWrongChain or
  // kNotServing when it has changed.
  virtual Result<proto::ListChunksResponse> ListReplica(uint32_t chain, uint32_t target,
                                                        std::optional<ChunkId> after,
                                                        std::optional<uint64_t> data_id,
                                                        uint32_t limit) = 0;
};

// Over gRPC: the metadata service at `meta_address`, and the members of each chain.
std::unique_ptr<CheckSource> MakeCheckSource(const std::string& meta_address);

}  // namespace sheaf::cli
