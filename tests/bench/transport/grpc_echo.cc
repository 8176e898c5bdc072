#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <vector>

#include "tests/bench/transport/echo_load.h"
#include "tests/bench/transport/server_process.h"

namespace sheaf::bench {
namespace {

constexpr char kMethod[] = "/echo/Echo";
constexpr int kMaxMessage = 64 << 20;

// The request is the wanted size in decimal; the answer is that much of one static buffer, wrapped
// and not copied: as little as gRPC can be asked to do.
const std::vector<uint8_t>& AnswerBytes() {
  static const std::vector<uint8_t> bytes(8 << 20, 0x5a);
  return bytes;
}

grpc::ByteBuffer Text(const std::string& text) {
  grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

size_t WantedSize(const grpc::ByteBuffer& request) {
  grpc::Slice slice;
  if (!request.DumpToSingleSlice(&slice).ok()) return 0;
  const std::string text(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return std::min<size_t>(std::strtoull(text.c_str(), nullptr, 10), AnswerBytes().size());
}

class EchoReactor : public grpc::ServerGenericBidiReactor {
 public:
  EchoReactor() { StartRead(&request_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    grpc::Slice slice(AnswerBytes().data(), WantedSize(request_), grpc::Slice::STATIC_SLICE);
    answer_ = grpc::ByteBuffer(&slice, 1);
    StartWriteAndFinish(&answer_, {}, grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer request_;
  grpc::ByteBuffer answer_;
};

class EchoService : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new EchoReactor();
  }
};

// For the life of the process: when the last channel goes, gRPC 1.51 ends its callback threads, and
// one that just returns from a callback then now and then fails an assertion.
void Keep(const std::shared_ptr<grpc::Channel>& channel) {
  static auto* const kept = new std::vector<std::shared_ptr<grpc::Channel>>;
  kept->push_back(channel);
}

class GrpcRunner : public Runner {
 public:
  GrpcRunner(const std::string& address, const Load& load)
      : request_(std::to_string(load.answer_bytes)),
        answer_bytes_(load.answer_bytes),
        pacer_(load, [this](int connection, int slot) { Begin(connection, slot); }) {
    for (int i = 0; i < load.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(kMaxMessage);
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      auto channel =
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
      Keep(channel);
      stubs_.push_back(std::make_unique<grpc::GenericStub>(channel));
    }
  }

  Status Run(const std::function<void()>& at_start, const std::function<void()>& at_end) override {
    return pacer_.Run(at_start, at_end);
  }
  double per_second() const override {
    return static_cast<double>(pacer_.measured()) / pacer_.seconds();
  }

 private:
  struct Attempt {
    grpc::ClientContext context;
    grpc::ByteBuffer request;
    grpc::ByteBuffer answer;
  };

  void Begin(int connection, int slot) {
    auto attempt = std::make_shared<Attempt>();
    attempt->request = Text(request_);
    stubs_[connection]->UnaryCall(
        &attempt->context, kMethod, {}, &attempt->request, &attempt->answer,
        [this, connection, slot, attempt](grpc::Status status) {
          pacer_.Next(connection, slot, status.ok() && attempt->answer.Length() == answer_bytes_);
        });
  }

  const std::string request_;
  const size_t answer_bytes_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  Pacer pacer_;
};

}  // namespace

int ServeGrpc() {
  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  builder.SetMaxSendMessageSize(kMaxMessage);
  auto server = builder.BuildAndStart();
  if (!server || port == 0) return 1;
  AnnounceAndWait("127.0.0.1:" + std::to_string(port));
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}

Result<std::unique_ptr<Runner>> MakeGrpcRunner(const std::string& address, const Load& load) {
  return std::unique_ptr<Runner>(std::make_unique<GrpcRunner>(address, load));
}

}  // namespace sheaf::bench
