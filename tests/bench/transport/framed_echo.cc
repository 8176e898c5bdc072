#include <vector>

#include "common/buffer.h"
#include "common/transport/connection.h"
#include "proto/data.pb.h"
#include "storage/service/echo_handler.h"
#include "storage/service/reactor_set.h"
#include "tests/bench/transport/echo_load.h"
#include "tests/bench/transport/server_process.h"

namespace sheaf::bench {
namespace {

using transport::Call;
using transport::Connection;
using transport::Method;
using transport::Reply;

constexpr std::chrono::seconds kCallDeadline{30};

class FramedRunner : public Runner {
 public:
  FramedRunner(std::vector<std::shared_ptr<Connection>> connections, const Load& load)
      : connections_(std::move(connections)),
        answer_bytes_(load.answer_bytes),
        depth_(load.depth),
        buffers_(static_cast<size_t>(load.depth) * load.connections),
        pacer_(load, [this](int connection, int slot) { Begin(connection, slot); }) {
    proto::ReadChunkRequest request;
    request.set_length(static_cast<uint32_t>(load.answer_bytes));
    message_ = request.SerializeAsString();
    for (AlignedBuffer& buffer : buffers_) buffer = AlignedBuffer(load.answer_bytes);
  }

  Status Run(const std::function<void()>& at_start, const std::function<void()>& at_end) override {
    return pacer_.Run(at_start, at_end);
  }
  double per_second() const override {
    return static_cast<double>(pacer_.measured()) / pacer_.seconds();
  }

 private:
  void Begin(int connection, int slot) {
    Call call;
    call.method = Method::kEcho;
    call.message = message_;
    call.into = buffers_[static_cast<size_t>(connection) * depth_ + slot].span();
    call.deadline = Clock::System().Now() + kCallDeadline;
    connections_[connection]->Start(std::move(call), [this, connection, slot](Result<Reply> reply) {
      pacer_.Next(connection, slot, reply.ok() && reply->payload_size == answer_bytes_);
    });
  }

  const std::vector<std::shared_ptr<Connection>> connections_;
  const size_t answer_bytes_;
  const int depth_;
  std::vector<AlignedBuffer> buffers_;
  std::string message_;
  Pacer pacer_;
};

Status Serve() {
  ASSIGN_OR_RETURN(UniqueFd listener, Listen({.host = "127.0.0.1"}, 64));
  ASSIGN_OR_RETURN(const Address bound, BoundAddress(listener.get(), {.host = "127.0.0.1"}));
  storage::ReactorSet::Options options;
  options.files = std::make_shared<storage::FileTable>();
  ASSIGN_OR_RETURN(auto reactors, storage::ReactorSet::Start(options));
  storage::EchoHandler handler(options.limits.terms.max_payload);
  std::vector<UniqueFd> listeners;
  listeners.push_back(std::move(listener));
  reactors->Serve(handler, std::move(listeners));
  AnnounceAndWait(bound.ToString());
  return reactors->StopServing(std::chrono::seconds(5));
}

}  // namespace

int ServeFramed() {
  const Status status = Serve();
  if (status.ok()) return 0;
  std::fprintf(stderr, "framed echo: %s\n", status.ToString().c_str());
  return 1;
}

Result<std::unique_ptr<Runner>> MakeFramedRunner(const std::string& address, const Load& load) {
  ASSIGN_OR_RETURN(const Address parsed, Address::Parse(address));
  std::vector<std::shared_ptr<Connection>> connections;
  for (int i = 0; i < load.connections; ++i) {
    ASSIGN_OR_RETURN(auto connection, Connection::Open(parsed, {}));
    connections.push_back(std::move(connection));
  }
  return std::unique_ptr<Runner>(std::make_unique<FramedRunner>(std::move(connections), load));
}

}  // namespace sheaf::bench
