#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "common/status.h"
#include "proto/data.pb.h"
#include "proto/replica.pb.h"
#include "storage/replica/replica_set.h"
#include "storage/service/request.h"

namespace sheaf::storage {

// The data requests of both planes: checks what came off the wire, asks admission, calls the
// chain's replica, checks again that the answer may leave.
//
// Thread safety: every call on a reactor's thread; `done` runs on the same one, possibly inside the
// call. A message need only be valid during the call.
class DataHandler {
 public:
  struct Options {
    uint32_t max_payload = transport::kDefaultMaxPayload;
    // Payloads from here on go ahead of their changes (storage/replica/staging.h); 0: none.
    uint32_t stage_from = 1 << 20;
  };
  // Whether a request that waited is still wanted; may be empty.
  using StillWanted = std::function<Status()>;
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  // `meta` without data: the bytes lie in `buffer`.
  struct ReadReply {
    proto::ReadChunkResponse meta;
    BufferRef buffer;
    std::span<const uint8_t> bytes;
  };
  struct Payload {
    BufferRef buffer;
    std::span<const uint8_t> bytes;
    std::shared_ptr<StageForward> forward = nullptr;
  };

  DataHandler(ReplicaSet& replicas, const Options& options)
      : replicas_(replicas), options_(options) {}

  void Read(ServiceContext& context, const proto::ReadChunkRequest& request, StillWanted wanted,
            Done<ReadReply> done);
  void Write(ServiceContext& context, const proto::WriteChunkRequest& request, Payload payload,
             Done<proto::WriteChunkResponse> done);
  // Passes the payload of that write on while it is received into `buffer`; null: it has to go with
  // its change.
  std::shared_ptr<StageForward> ForwardOf(const proto::WriteChunkRequest& request,
                                          const BufferRef& buffer, uint32_t length);
  void Truncate(ServiceContext& context, const proto::TruncateChunkRequest& request,
                Done<proto::TruncateChunkResponse> done);
  void Remove(ServiceContext& context, const proto::RemoveChunksRequest& request,
              Done<proto::RemoveChunksResponse> done);
  void List(ServiceContext& context, const proto::ListChunksRequest& request,
            Done<proto::ListChunksResponse> done);
  // The same for a neighbour in the chain: only the chain is looked up here, the replica checks the
  // rest. An answer that serves a read goes out under a valid lease alone.
  Result<std::shared_ptr<ChainReplica>> FindForPeer(const proto::PeerContext& peer) const {
    return replicas_.FindForPeer(ChainId(peer.chain_id()));
  }
  void Committed(ServiceContext& context, const proto::CommittedRequest& request,
                 Done<proto::CommittedResponse> done);
  void Space(Done<proto::SpaceResponse> done);
  void Health(Done<proto::HealthResponse> done);

  uint32_t max_payload() const { return options_.max_payload; }
  bool IsStaged(uint32_t length) const {
    return options_.stage_from > 0 && length >= options_.stage_from;
  }

 private:
  using Outcome = Result<MutationResult>;
  using OutcomeDone = std::function<void(Outcome)>;
  // Begins a mutation at its chain's replica; `admission` is asked again there, and by whom answers.
  using Start = std::function<void(ChainReplica&, const ChainReplica::Admission&, OutcomeDone)>;
  void Mutate(const proto::DataContext& request, const Start& start, OutcomeDone done);
  void StartRead(IoContext& io, const AdmissionRequest& admission, ChunkId chunk, uint32_t offset,
                 uint32_t length, Done<ReadReply> done);

  ReplicaSet& replicas_;
  const Options options_;
};

}  // namespace sheaf::storage
