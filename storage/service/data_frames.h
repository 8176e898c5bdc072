#pragma once

#include "storage/service/data_handler.h"
#include "storage/service/echo_handler.h"
#include "storage/service/request.h"

namespace sheaf::storage {

// The framed plane's adapter: decodes a frame's message, calls the data handler, encodes.
class DataFrames : public FramedHandler {
 public:
  explicit DataFrames(DataHandler& data) : data_(data), echo_(data.max_payload()) {}
  void Handle(ServiceContext& context, FramedRequest request,
              std::shared_ptr<FramedCall> call) override;
  std::unique_ptr<ConnectionState> NewConnection() override;
  PlaceOfPayload PlaceOf(ServiceContext& context, const PayloadAhead& ahead) override;
  std::shared_ptr<StageForward> Watch(const PayloadAhead& ahead, const BufferRef& buffer) override;

 private:
  void Read(ServiceContext& context, const FramedRequest& request,
            std::shared_ptr<FramedCall> call);
  void Write(ServiceContext& context, FramedRequest request, std::shared_ptr<FramedCall> call);
  // Of the chain's other replicas.
  void HandlePeer(ServiceContext& context, FramedRequest request, std::shared_ptr<FramedCall> call);

  DataHandler& data_;
  EchoHandler echo_;
};

}  // namespace sheaf::storage
