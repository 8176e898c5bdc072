#include "tests/support/call_proxy.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "common/rpc.h"

namespace sheaf::testing {
namespace {

constexpr std::chrono::seconds kTimeout{30};

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// The one operation a queue waits for; false when it failed or the queue was shut down.
bool Next(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  return queue.Next(&tag, &ok) && ok;
}

}  // namespace

struct CallProxy::Impl {
  explicit Impl(const std::string& target) { SetUpstream(target); }

  void SetUpstream(const std::string& target) {
    const std::lock_guard lock(mutex);
    upstream = std::make_shared<grpc::GenericStub>(MakeChannel(target));
  }

  Reply Forward(const std::string& path, const std::string& request) {
    std::shared_ptr<grpc::GenericStub> stub;
    {
      const std::lock_guard lock(mutex);
      stub = upstream;
    }
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    context.set_wait_for_ready(true);
    grpc::CompletionQueue done;
    const auto call = stub->PrepareUnaryCall(&context, path, BufferOf(request), &done);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    (void)Next(done);
    const Status result = FromGrpc(status);
    return result.ok() ? Reply{Code::kOk, BytesOf(answer)} : Reply{result.code(), result.message()};
  }

  Reply Handle(const std::string& path, const std::string& request) {
    Reply reply = Forward(path, request);
    Fate fate;
    std::function<void()> after;
    {
      const std::lock_guard lock(mutex);
      fate = std::exchange(next_fate, Fate::kNone);
      after = std::exchange(next_after, nullptr);
    }
    if (after) after();
    if (fate == Fate::kDuplicate) reply = Forward(path, request);
    {
      const std::lock_guard lock(mutex);
      calls.push_back({path.substr(path.rfind('/') + 1), request, reply});
      paths.insert_or_assign(calls.back().method, path);
    }
    if (fate == Fate::kDropReply) return {Code::kUnavailable, "the reply was lost"};
    return reply;
  }

  void Serve() {
    for (;;) {
      grpc::GenericServerContext context;
      grpc::GenericServerAsyncReaderWriter stream(&context);
      service.RequestCall(&context, &stream, queue.get(), queue.get(), nullptr);
      if (!Next(*queue)) return;
      grpc::ByteBuffer request;
      stream.Read(&request, nullptr);
      if (!Next(*queue)) continue;
      const Reply reply = Handle(context.method(), BytesOf(request));
      if (reply.code == Code::kOk) {
        stream.WriteAndFinish(BufferOf(reply.body), {}, grpc::Status::OK, nullptr);
      } else {
        stream.Finish(ToGrpc(Status(reply.code, reply.body)), nullptr);
      }
      (void)Next(*queue);
    }
  }

  std::mutex mutex;
  std::shared_ptr<grpc::GenericStub> upstream;
  Fate next_fate = Fate::kNone;
  std::function<void()> next_after;
  std::vector<Call> calls;
  std::map<std::string, std::string> paths;  // by method

  grpc::AsyncGenericService service;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  std::unique_ptr<grpc::Server> server;
  std::string address;
  std::thread thread;
};

CallProxy::CallProxy(const std::string& upstream) : impl_(new Impl(upstream)) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterAsyncGenericService(&impl_->service);
  impl_->queue = builder.AddCompletionQueue();
  impl_->server = builder.BuildAndStart();
  CHECK(impl_->server != nullptr && port != 0, "the proxy does not listen");
  impl_->address = "127.0.0.1:" + std::to_string(port);
  impl_->thread = std::thread([this] { impl_->Serve(); });
}

CallProxy::~CallProxy() {
  impl_->server->Shutdown(std::chrono::system_clock::now());
  impl_->thread.join();
  impl_->queue->Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (impl_->queue->Next(&tag, &ok)) {
  }
}

const std::string& CallProxy::address() const { return impl_->address; }

void CallProxy::SetUpstream(const std::string& address) { impl_->SetUpstream(address); }

void CallProxy::SetFate(Fate fate, std::function<void()> after) {
  const std::lock_guard lock(impl_->mutex);
  impl_->next_fate = fate;
  impl_->next_after = std::move(after);
}

std::vector<CallProxy::Call> CallProxy::calls() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->calls;
}

CallProxy::Reply CallProxy::Replay(const Call& call) {
  std::string path;
  {
    const std::lock_guard lock(impl_->mutex);
    path = impl_->paths.at(call.method);
  }
  return impl_->Forward(path, call.request);
}

}  // namespace sheaf::testing
