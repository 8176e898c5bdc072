#include "storage/service/data_grpc.h"

#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "common/rpc.h"

namespace sheaf::storage {
namespace {

using transport::Method;

void MoveInto(DataHandler::ReadReply& reply, proto::ReadChunkResponse& response) {
  response = std::move(reply.meta);
  response.set_data(reply.bytes.data(), reply.bytes.size());
}

// Copies a gRPC message's bytes into a pooled buffer; null when none is free.
DataHandler::Payload PayloadFrom(IoContext& io, const std::string& data) {
  BufferRef buffer = io.Allocate(data.size());
  if (buffer == nullptr) return {};
  std::memcpy(buffer->span().data(), data.data(), data.size());
  std::span<const uint8_t> bytes = buffer->span().first(data.size());
  return {std::move(buffer), bytes};
}

}  // namespace

// One unary call. gRPC keeps request and response until Finish.
class DataGrpc::Call {
 public:
  Call(DataGrpc& service, grpc::CallbackServerContext& context, Method method, size_t bytes_in)
      : service_(service),
        context_(context),
        reactor_(context.DefaultReactor()),
        method_(method),
        bytes_in_(bytes_in),
        began_(Clock::System().Now()) {}

  grpc::ServerUnaryReactor* reactor() { return reactor_; }

  Status StillWanted() const {
    if (context_.IsCancelled()) return {Code::kCancelled, "request: its caller no longer waits"};
    return AdmitCall(context_);
  }

  void End(const Status& status, size_t bytes_out = 0) {
    if (service_.options_.metrics)
      service_.options_.metrics->Count(method_, status.ok(), Clock::System().Now() - began_,
                                       bytes_in_, bytes_out);
    service_.Leave();
    reactor_->Finish(ToGrpc(status));  // the call's memory goes
  }

  // Answers with a result whose message is the whole answer.
  template <typename Response>
  void Answer(Result<Response> result, Response* response) {
    if (result.ok()) *response = std::move(*result);
    End(result.status());
  }

 private:
  DataGrpc& service_;
  grpc::CallbackServerContext& context_;
  grpc::ServerUnaryReactor* const reactor_;
  const Method method_;
  const size_t bytes_in_;
  const Clock::Instant began_;
};

Status DataGrpc::Enter(const grpc::CallbackServerContext& context) {
  RETURN_IF_ERROR(AdmitCall(context));
  if (++under_way_ <= options_.calls_under_way) return Status::Ok();
  --under_way_;
  return {Code::kBusy, "request: too many under way"};
}

template <typename Work>
grpc::ServerUnaryReactor* DataGrpc::Run(grpc::CallbackServerContext* context, Method method,
                                        size_t bytes_in, Work work) {
  if (Status status = Enter(*context); !status.ok()) {
    if (options_.metrics) options_.metrics->Count(method, false, Clock::Instant(0), bytes_in, 0);
    grpc::ServerUnaryReactor* refused = context->DefaultReactor();
    refused->Finish(ToGrpc(status));
    return refused;
  }
  auto call = std::make_shared<Call>(*this, *context, method, bytes_in);
  grpc::ServerUnaryReactor* result = call->reactor();
  Reactor& reactor = reactors_.Next();
  reactor.Post([&reactor, call = std::move(call), work = std::move(work)] {
    if (Status status = call->StillWanted(); !status.ok()) return call->End(status);
    work(reactor, call);
  });
  return result;
}

grpc::ServerUnaryReactor* DataGrpc::Read(grpc::CallbackServerContext* context,
                                         const proto::ReadChunkRequest* request,
                                         proto::ReadChunkResponse* response) {
  return Run(context, Method::kRead, 0,
             [this, request, response](Reactor& reactor, std::shared_ptr<Call> call) {
               data_.Read(
                   reactor, *request, [call] { return call->StillWanted(); },
                   [response, call](Result<DataHandler::ReadReply> reply) {
                     if (!reply.ok()) return call->End(reply.status());
                     const size_t bytes = reply->bytes.size();
                     MoveInto(*reply, *response);
                     call->End(Status::Ok(), bytes);
                   });
             });
}

grpc::ServerUnaryReactor* DataGrpc::Write(grpc::CallbackServerContext* context,
                                          const proto::WriteChunkRequest* request,
                                          proto::WriteChunkResponse* response) {
  auto write = [this, request, response](Reactor& reactor, std::shared_ptr<Call> call) {
    const std::string& data = request->data();
    if (data.size() > data_.max_payload())
      return call->End({Code::kTooBig, "write chunk: over the largest payload (" +
                                           std::to_string(data.size()) + " bytes, at most " +
                                           std::to_string(data_.max_payload()) + ")"});
    auto go = [this, &reactor, request, response, call](Status status) {
      DataHandler::Payload payload;
      if (status.ok()) payload = PayloadFrom(reactor.io(), request->data());
      if (status.ok() && !payload.buffer) status = {Code::kBusy, "buffers: all in use"};
      if (!status.ok()) return call->End(status);
      data_.Write(reactor, *request, std::move(payload),
                  [response, call](Result<proto::WriteChunkResponse> result) {
                    call->Answer(std::move(result), response);
                  });
    };
    if (reactor.HasRoom(data.size())) return go(Status::Ok());
    reactor.WhenRoom(data.size(), go);
  };
  return Run(context, Method::kWrite, request->data().size(), write);
}

grpc::ServerUnaryReactor* DataGrpc::Truncate(grpc::CallbackServerContext* context,
                                             const proto::TruncateChunkRequest* request,
                                             proto::TruncateChunkResponse* response) {
  return Run(context, Method::kTruncate, 0,
             [this, request, response](Reactor& reactor, std::shared_ptr<Call> call) {
               data_.Truncate(reactor, *request,
                              [response, call](Result<proto::TruncateChunkResponse> result) {
                                call->Answer(std::move(result), response);
                              });
             });
}

grpc::ServerUnaryReactor* DataGrpc::Remove(grpc::CallbackServerContext* context,
                                           const proto::RemoveChunksRequest* request,
                                           proto::RemoveChunksResponse* response) {
  return Run(context, Method::kRemove, 0,
             [this, request, response](Reactor& reactor, std::shared_ptr<Call> call) {
               data_.Remove(reactor, *request,
                            [response, call](Result<proto::RemoveChunksResponse> result) {
                              call->Answer(std::move(result), response);
                            });
             });
}

grpc::ServerUnaryReactor* DataGrpc::List(grpc::CallbackServerContext* context,
                                         const proto::ListChunksRequest* request,
                                         proto::ListChunksResponse* response) {
  return Run(context, Method::kList, 0,
             [this, request, response](Reactor& reactor, std::shared_ptr<Call> call) {
               data_.List(reactor, *request,
                          [response, call](Result<proto::ListChunksResponse> result) {
                            call->Answer(std::move(result), response);
                          });
             });
}

grpc::ServerUnaryReactor* DataGrpc::Space(grpc::CallbackServerContext* context,
                                          const proto::SpaceRequest*,
                                          proto::SpaceResponse* response) {
  return Run(context, Method::kSpace, 0, [this, response](Reactor&, std::shared_ptr<Call> call) {
    data_.Space([response, call](Result<proto::SpaceResponse> result) {
      call->Answer(std::move(result), response);
    });
  });
}

grpc::ServerUnaryReactor* DataGrpc::Health(grpc::CallbackServerContext* context,
                                           const proto::HealthRequest*,
                                           proto::HealthResponse* response) {
  return Run(context, Method::kHealth, 0, [this, response](Reactor&, std::shared_ptr<Call> call) {
    data_.Health([response, call](Result<proto::HealthResponse> result) {
      call->Answer(std::move(result), response);
    });
  });
}

// One BatchRead: a window of reads under way on one reactor, answers streamed as they complete.
// Answers wait in `ready_` for the one write that gRPC allows at a time; they count against the
// window until they are written, so a slow reader holds back the reads.
//
// Lives until gRPC's OnDone and the last read: both hold `self_`.
class DataGrpc::Batch : public grpc::ServerWriteReactor<proto::BatchReadResponse>,
                        public std::enable_shared_from_this<Batch> {
 public:
  Batch(DataGrpc& service, grpc::CallbackServerContext& context,
        const proto::BatchReadRequest& request)
      : service_(service), context_(context), request_(request) {}

  void Begin(Reactor& reactor) {
    self_ = shared_from_this();
    reactor_ = &reactor;
    reactor.Post([self = shared_from_this()] { self->Fill(); });
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    ready_.pop_front();
    --window_;
    if (!ok) stopped_ = true;
    if (!ready_.empty() && !stopped_) {
      StartWrite(&ready_.front());
    } else {
      writing_ = false;
    }
    reactor_->Post([self = shared_from_this()] { self->Fill(); });
  }

  void OnCancel() override {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    reactor_->Post([self = shared_from_this()] { self->Fill(); });
  }

  void OnDone() override {
    service_.Leave();
    self_.reset();
  }

 private:
  // On the reactor: starts reads while the window allows; ends the call when all is answered.
  void Fill() {
    for (;;) {
      uint32_t slot = 0;
      {
        std::lock_guard lock(mutex_);
        if (finished_) return;
        const bool all_started = stopped_ || next_ == request_.reads_size();
        if (all_started && reading_ == 0 && !writing_) {
          finished_ = true;
          Finish(stopped_ ? ToGrpc({Code::kCancelled, "batch read: its caller went"})
                          : grpc::Status::OK);
          return;
        }
        if (all_started || window_ >= service_.options_.batch_window) return;
        slot = static_cast<uint32_t>(next_++);
        ++window_;
        ++reading_;
      }
      StartOne(slot);
    }
  }

  void StartOne(uint32_t slot) {
    auto self = shared_from_this();
    service_.data_.Read(
        *reactor_, request_.reads(static_cast<int>(slot)), [self] { return self->StillWanted(); },
        [self, slot](Result<DataHandler::ReadReply> reply) { self->OnRead(slot, reply); });
  }

  Status StillWanted() {
    std::lock_guard lock(mutex_);
    if (stopped_) return {Code::kCancelled, "batch read: its caller went"};
    return AdmitCall(context_);
  }

  void OnRead(uint32_t slot, Result<DataHandler::ReadReply>& reply) {
    proto::BatchReadResponse answer;
    answer.set_slot(slot);
    if (reply.ok()) {
      MoveInto(*reply, *answer.mutable_read());
    } else {
      answer.set_error_code(static_cast<uint32_t>(reply.status().code()));
      answer.set_error_message(reply.status().message());
    }
    std::lock_guard lock(mutex_);
    --reading_;
    ready_.push_back(std::move(answer));
    if (stopped_) {
      reactor_->Post([self = shared_from_this()] { self->Fill(); });
    } else if (!writing_) {
      writing_ = true;
      StartWrite(&ready_.front());
    }
  }

  DataGrpc& service_;
  grpc::CallbackServerContext& context_;
  const proto::BatchReadRequest& request_;
  Reactor* reactor_ = nullptr;
  std::shared_ptr<Batch> self_;

  std::mutex mutex_;      // guards what follows
  int next_ = 0;          // first read not started
  uint32_t window_ = 0;   // started and not yet written
  uint32_t reading_ = 0;  // started and not yet read
  bool writing_ = false;
  bool stopped_ = false;
  bool finished_ = false;
  std::deque<proto::BatchReadResponse> ready_;
};

namespace {

// Ends a stream before it began.
class RefusedBatch : public grpc::ServerWriteReactor<proto::BatchReadResponse> {
 public:
  explicit RefusedBatch(const Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerWriteReactor<proto::BatchReadResponse>* DataGrpc::BatchRead(
    grpc::CallbackServerContext* context, const proto::BatchReadRequest* request) {
  Status status;
  if (static_cast<uint32_t>(request->reads_size()) > options_.batch_reads)
    status = {Code::kTooBig, "batch read: too many reads (" +
                                 std::to_string(request->reads_size()) + ", at most " +
                                 std::to_string(options_.batch_reads) + ")"};
  if (status.ok()) status = Enter(*context);
  if (!status.ok()) return new RefusedBatch(status);
  auto batch = std::make_shared<Batch>(*this, *context, *request);
  batch->Begin(reactors_.Next());
  return batch.get();
}

}  // namespace sheaf::storage
