// A storage server behind its frame parser: requests of every method with arbitrary messages and
// payloads, through the decoders, the checks and admission down to an engine in memory. Each is
// answered exactly once (what a neighbour asks when its chain stops, at the latest), by nothing
// larger than was asked for, and the engine sees nothing out of a chunk's bounds.
//
// The input is requests: method, a piece of message, two bytes of payload length. The top bit of
// the method puts a write's checksum right, without which none would arrive. All come by one
// connection, which keeps what is sent ahead of its change.

#include <deque>

#include "common/crc32c.h"
#include "proto/replica.pb.h"
#include "storage/service/data_frames.h"
#include "storage/service/data_handler.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/watched_engine.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kMaxPayload = fuzz::kMaxChunkBytes;
constexpr int kMaxRequests = 16;

class HeapBuffer : public PooledBuffer {
 public:
  explicit HeapBuffer(size_t bytes) : bytes_(bytes) {}
  std::span<uint8_t> span() override { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// What a reactor gives to handlers, on this thread.
class Context : public ServiceContext, public IoContext {
 public:
  IoContext& io() override { return *this; }
  bool HasRoom(size_t bytes, uint32_t) const override { return bytes <= kMaxPayload; }
  void WhenRoom(size_t, std::function<void(Status)> go, uint32_t) override {
    Post([go = std::move(go)] { go({Code::kBusy, "no room"}); });
  }
  void Read(FileSlot, uint64_t, BufferRef, std::span<uint8_t>, IoDone) override {
    CHECK(false, "the engine in memory has no disk");
  }
  void Write(FileSlot, uint64_t, BufferRef, std::span<const uint8_t>, IoDone) override {
    CHECK(false, "the engine in memory has no disk");
  }
  BufferRef Allocate(size_t bytes) override {
    CHECK(bytes <= kMaxPayload, "a buffer over the largest payload");
    return std::make_shared<HeapBuffer>(bytes);
  }
  void Post(std::function<void()> task) override { tasks_.push_back(std::move(task)); }

  void RunAll() {
    while (!tasks_.empty()) {
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
  }

 private:
  std::deque<std::function<void()>> tasks_;
};

class Answered : public FramedCall {
 public:
  void Finish(Answer finished) override {
    CHECK(++answers == 1, "answered twice");
    CHECK(finished.payload.size() <= kMaxPayload, "an answer over the largest payload");
    CHECK(finished.status.ok() || finished.payload.empty(), "an error with a payload");
    answer = std::move(finished);
  }
  Status StillWanted() const override { return Status::Ok(); }

  int answers = 0;
  Answer answer;
};

class Server {
 public:
  Server() {
    replicas_.ApplyMap(fuzz::MapOfOneChain());
    replicas_.ExtendLease(Clock::System().Now() + std::chrono::hours(1));
  }

  ~Server() {
    replicas_.Stop();
    context_.RunAll();
    state_->CheckTimeLimits(now_);
    for (const auto& call : of_neighbours_) CHECK(call->answers == 1, "not answered");
  }

  void Request(uint8_t method, std::string message, size_t payload_size) {
    const auto number = static_cast<transport::Method>(method & 0x1f);
    auto buffer = std::make_shared<HeapBuffer>(payload_size);
    std::fill(buffer->span().begin(), buffer->span().end(), uint8_t{'p'});
    if ((method & 0x80) != 0 && number == transport::Method::kWrite)
      PutRight<proto::WriteChunkRequest>(*buffer, message);
    if ((method & 0x80) != 0 && number == transport::Method::kReplicate)
      PutChangeRight(*buffer, message);
    if ((method & 0x80) != 0 && number == transport::Method::kSyncWrite)
      PutRight<proto::SyncWriteRequest>(*buffer, message);
    FramedRequest request{
        .method = number,
        .message = {reinterpret_cast<const uint8_t*>(message.data()), message.size()},
        .buffer = buffer,
        .payload = buffer->span(),
        .state = state_.get()};
    if (payload_size > 0 && !Place(request)) return;
    auto call = std::make_shared<Answered>();
    frames_.Handle(context_, std::move(request), call);
    message.assign(message.size(), '?');  // valid during Handle only
    context_.RunAll();
    if (number >= transport::Method::kReplicate) return of_neighbours_.push_back(call);
    CHECK(call->answers == 1, "not answered");
    if (number == transport::Method::kRead && call->answer.status.ok()) CheckRead(*call);
  }

 private:
  // Where the connection puts the payload; false: it refuses the request.
  bool Place(FramedRequest& request) {
    const auto length = static_cast<uint32_t>(request.payload.size());
    now_ += std::chrono::seconds(1);
    state_->CheckTimeLimits(now_);
    const auto place = frames_.PlaceOf(context_, {.method = request.method,
                                                  .message = request.message,
                                                  .length = length,
                                                  .now = now_,
                                                  .state = state_.get()});
    if (!place) return true;
    if (!place->ok()) return false;
    CHECK((*place)->into.size() == length, "a place of another size");
    CHECK((*place)->into.data() >= (*place)->buffer->span().data() &&
              (*place)->into.data() + length <=
                  (*place)->buffer->span().data() + (*place)->buffer->span().size(),
          "a place outside of its buffer");
    std::fill((*place)->into.begin(), (*place)->into.end(), uint8_t{'p'});
    request.buffer = (*place)->buffer;
    request.payload = (*place)->into;
    return true;
  }

  // The checksum of its payload, or of as much as was sent ahead.
  static void PutChangeRight(HeapBuffer& payload, std::string& message) {
    proto::ReplicateRequest change;
    if (!change.ParseFromString(message)) return;
    if (change.stage() == 0) return PutRight<proto::ReplicateRequest>(payload, message);
    HeapBuffer ahead(std::min(change.length(), kMaxPayload));
    std::fill(ahead.span().begin(), ahead.span().end(), uint8_t{'p'});
    PutRight<proto::ReplicateRequest>(ahead, message);
  }

  template <typename Message>
  static void PutRight(HeapBuffer& payload, std::string& message) {
    Message write;
    if (!write.ParseFromString(message)) return;
    write.set_crc32c(Crc32c(payload.span()));
    message = write.SerializeAsString();
  }

  static void CheckRead(const Answered& call) {
    proto::ReadChunkResponse response;
    CHECK(response.ParseFromString(call.answer.message));
    CHECK(response.crc32c() == Crc32c(call.answer.payload), "bytes that are not the checksum's");
  }

  fuzz::WatchedEngine engine_;
  ReplicaSet replicas_{{{"a", &engine_}}, Clock::System()};
  DataHandler data_{replicas_, {.max_payload = kMaxPayload}};
  DataFrames frames_{data_};
  Context context_;
  Clock::Instant now_{};
  std::unique_ptr<ConnectionState> state_ = frames_.NewConnection();
  std::vector<std::shared_ptr<Answered>> of_neighbours_;
};

}  // namespace
}  // namespace sheaf::storage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  sheaf::storage::Server server;
  for (int i = 0; i < sheaf::storage::kMaxRequests && !input.empty(); ++i) {
    const uint8_t method = input.TakeByte();
    const std::string message(input.TakePiece());
    server.Request(method, message, input.TakeU16());
  }
  return 0;
}
