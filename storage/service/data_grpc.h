#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "proto/data.grpc.pb.h"
#include "storage/service/data_handler.h"
#include "storage/service/reactor_set.h"
#include "storage/service/service_metrics.h"

namespace sheaf::storage {

// The gRPC plane of the data service, for stock clients: posts each call to a reactor, which runs
// the same handler as the framed plane, and answers from there. gRPC's threads never block.
//
// Thread safety: all calls.
class DataGrpc : public proto::Data::CallbackService {
 public:
  struct Options {
    uint32_t calls_under_way = 256;  // one more is answered kBusy
    uint32_t batch_reads = 4096;     // in one BatchRead
    uint32_t batch_window = 8;       // of those, under way at once
    ServiceMetrics* metrics = nullptr;
  };
  // All outlive the server that this is registered with.
  DataGrpc(DataHandler& data, ReactorSet& reactors, const Options& options)
      : data_(data), reactors_(reactors), options_(options) {}

  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const proto::ReadChunkRequest* request,
                                 proto::ReadChunkResponse* response) override;
  grpc::ServerWriteReactor<proto::BatchReadResponse>* BatchRead(
      grpc::CallbackServerContext* context, const proto::BatchReadRequest* request) override;
  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context,
                                  const proto::WriteChunkRequest* request,
                                  proto::WriteChunkResponse* response) override;
  grpc::ServerUnaryReactor* Truncate(grpc::CallbackServerContext* context,
                                     const proto::TruncateChunkRequest* request,
                                     proto::TruncateChunkResponse* response) override;
  grpc::ServerUnaryReactor* Remove(grpc::CallbackServerContext* context,
                                   const proto::RemoveChunksRequest* request,
                                   proto::RemoveChunksResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const proto::ListChunksRequest* request,
                                 proto::ListChunksResponse* response) override;
  grpc::ServerUnaryReactor* Space(grpc::CallbackServerContext* context,
                                  const proto::SpaceRequest* request,
                                  proto::SpaceResponse* response) override;
  grpc::ServerUnaryReactor* Health(grpc::CallbackServerContext* context,
                                   const proto::HealthRequest* request,
                                   proto::HealthResponse* response) override;

  // Calls begun and not answered. Thread-safe.
  uint32_t under_way() const { return under_way_; }

 private:
  class Call;
  class Batch;

  // Admits the call and runs `work(reactor, call)` on a reactor; `work` ends with call->End.
  template <typename Work>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, transport::Method method,
                                size_t bytes_in, Work work);
  Status Enter(const grpc::CallbackServerContext& context);
  void Leave() { --under_way_; }

  DataHandler& data_;
  ReactorSet& reactors_;
  const Options options_;
  std::atomic<uint32_t> under_way_{0};
};

}  // namespace sheaf::storage
