#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "proto/replica.pb.h"
#include "storage/replica/replica_messages.h"
#include "storage/replica/stage_forward.h"
#include "tests/storage/replica/noting_host.h"

// How long 4 MiB take on chains of one and of three members, by a calendar of events: the real
// order (ChainCore) and the real stages over links and disks of set speed. Each member has a disk
// and a link of its own, and processors cost nothing here.

namespace sheaf::storage {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

constexpr uint32_t kBytes = 4 << 20;
constexpr double kLinkBytesPerNs = 1.25;  // 10 Gbit/s
constexpr microseconds kHopTime{50};
constexpr double kDiskBytesPerNs = 2.0;
constexpr microseconds kSyncTime{500};
constexpr uint32_t kSmallFrame = 200;
constexpr uint32_t kReceive = 64 << 10;  // what a socket hands over at a time

nanoseconds TimeOf(uint64_t bytes, double bytes_per_ns) {
  return nanoseconds(static_cast<int64_t>(static_cast<double>(bytes) / bytes_per_ns));
}

class Calendar {
 public:
  nanoseconds now() const { return now_; }
  void At(nanoseconds time, std::function<void()> event) {
    events_.emplace(time, std::move(event));
  }
  void In(nanoseconds wait, std::function<void()> event) { At(now_ + wait, std::move(event)); }
  void Run() {
    while (!events_.empty()) {
      auto next = events_.extract(events_.begin());
      now_ = next.key();
      next.mapped()();
    }
  }

 private:
  nanoseconds now_{};
  std::multimap<nanoseconds, std::function<void()>> events_;
};

// One direction: what is sent follows what was sent before.
class Line {
 public:
  explicit Line(Calendar& calendar) : calendar_(calendar) {}
  void Send(uint64_t bytes, std::function<void()> arrives) {
    free_ = std::max(free_, calendar_.now()) + TimeOf(bytes, kLinkBytesPerNs);
    calendar_.At(free_ + kHopTime, std::move(arrives));
  }

 private:
  Calendar& calendar_;
  nanoseconds free_{};
};

struct HeapBuffer : PooledBuffer {
  explicit HeapBuffer(size_t size) : bytes(size) {}
  std::span<uint8_t> span() override { return bytes; }
  std::vector<uint8_t> bytes;
};

// One member. What it says to the one behind goes by `out_`, what it answers to the one before by
// `back_`.
class Member final : public NotingHost, public Peers {
 public:
  Member(Calendar& calendar, uint32_t number)
      : core(ChainId(7), TargetId(number), *this),
        calendar_(calendar),
        out_(calendar),
        back_(calendar),
        number_(number) {}

  void Join(Member* next, bool staged, const ChainView& view) {
    next_ = next;
    staged_ = staged;
    if (next != nullptr) next->before_ = this;
    core.Configure(view);
  }

  std::shared_ptr<StageForward> ForwardOf(const BufferRef& buffer) {
    if (next_ == nullptr || !staged_) return nullptr;
    const StageForward::Route route{
        .peers = this,
        .key = {ChainId(7), core.version(), TargetId(number_), ++stages_},
        .to = TargetId(number_ + 1),
        .counts = counts_};
    return std::make_shared<StageForward>(route, buffer,
                                          static_cast<uint32_t>(buffer->span().size()));
  }

  // Peers: parts of stages.
  void Call(TargetId, transport::Call call, transport::Done done) override {
    proto::StageRequest request;
    ASSERT_TRUE(request.ParseFromString(call.message));
    const StagePart part = DecodeStage(request, static_cast<uint32_t>(call.payload.size()));
    out_.Send(kSmallFrame + call.payload.size(), [next = next_, part, done] {
      next->OnPart(part);
      done(transport::Reply{});
    });
  }
  void OnPart(const StagePart& part) {
    const auto place = shelf_.Expect(part, {}, [this](uint32_t total) -> Result<StageShelf::Room> {
      BufferRef buffer = std::make_shared<HeapBuffer>(total);
      return StageShelf::Room{buffer, ForwardOf(buffer)};
    });
    ASSERT_TRUE(place.ok()) << place.status().ToString();
    ASSERT_TRUE(shelf_.Landed(part).ok());
  }

  // ChainHost
  void Apply(uint64_t ticket, const ChainOpRef& op) override {
    disk_free_ = std::max(disk_free_, calendar_.now()) + TimeOf(op->bytes.size(), kDiskBytesPerNs);
    calendar_.At(disk_free_ + kSyncTime, [this, ticket, op] {
      core.OnApplied(ticket, op->chunk, LocalState{ChunkVersion(1), kBytes, 1});
    });
  }
  void SendReplicate(TargetId to, const ReplicateMessage& message) override {
    const uint64_t stage = message.op->forward ? message.op->forward->Take(to, message.version) : 0;
    const uint64_t payload = stage == 0 ? message.op->bytes.size() : 0;
    out_.Send(kSmallFrame + payload,
              [next = next_, message, stage] { next->OnChange(message, stage); });
  }
  void OnChange(ReplicateMessage message, uint64_t stage) {
    auto op = std::make_shared<ChainOp>(*message.op);
    op->forward = nullptr;
    if (stage != 0) {
      auto room = shelf_.Take({ChainId(7), message.version, message.from, stage},
                              static_cast<uint32_t>(op->bytes.size()));
      ASSERT_TRUE(room.has_value());
      op->forward = std::static_pointer_cast<StageForward>(room->onward);
      ++staged_changes;
    }
    message.op = std::move(op);
    core.OnReplicate(message.sequence, message);
  }
  void SendDurable(TargetId, const DurableMessage& message) override {
    out_.Send(kSmallFrame, [next = next_, message] { next->core.OnDurable(0, message); });
  }
  void ReplyReplicate(ReplyId reply, const Result<ReplicateReply>& answer) override {
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    back_.Send(kSmallFrame, [before = before_, version = core.version(), reply, answer] {
      before->core.OnReplicateReply(version, reply, answer);
    });
  }
  void ReplyDurable(ReplyId, const Result<uint64_t>& committed) override {
    back_.Send(kSmallFrame, [before = before_, version = core.version(), committed] {
      before->core.OnDurableReply(version, committed);
    });
  }
  void Finish(CallId, const Result<MutationResult>& answer) override {
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    answered = calendar_.now() + kHopTime;
  }

  ChainCore core;
  std::optional<nanoseconds> answered;  // when its client knows
  int staged_changes = 0;

 private:
  Calendar& calendar_;
  Line out_;
  Line back_;
  const uint32_t number_;
  Member* next_ = nullptr;
  Member* before_ = nullptr;
  bool staged_ = false;
  uint64_t stages_ = 0;
  nanoseconds disk_free_{};
  StageShelf shelf_{{}};
  const std::shared_ptr<StageCounts> counts_ = std::make_shared<StageCounts>();
};

// From the first byte's leaving the client, in writes of that size, to the last answer's arrival.
double Milliseconds(uint32_t members, uint32_t piece, bool staged) {
  Calendar calendar;
  ChainView view{.id = ChainId(7), .version = ChainVersion(3)};
  std::vector<std::unique_ptr<Member>> chain;
  for (uint32_t i = 1; i <= members; ++i) {
    view.members.push_back({TargetId(i), NodeId(i), proto::SERVING});
    chain.push_back(std::make_unique<Member>(calendar, i));
  }
  for (uint32_t i = 0; i < members; ++i)
    chain[i]->Join(i + 1 < members ? chain[i + 1].get() : nullptr, staged, view);

  Member& head = *chain[0];
  Line client(calendar);
  for (uint32_t offset = 0; offset < kBytes; offset += piece) {
    auto op = std::make_shared<ChainOp>();
    op->chunk = {DataId(5), 0};
    op->offset = offset;
    op->chunk_size = kBytes;
    op->proposed = view.version;
    op->buffer = std::make_shared<HeapBuffer>(piece);
    op->bytes = op->buffer->span();
    op->forward = head.ForwardOf(op->buffer);
    for (uint32_t landed = kReceive; landed <= piece; landed += kReceive) {
      client.Send(kReceive, [&head, op, landed, offset] {
        if (op->forward) op->forward->Landed(landed);
        if (landed == op->bytes.size()) head.core.Mutate(1 + offset, op);
      });
    }
  }
  calendar.Run();
  for (uint32_t i = 0; i < members; ++i)
    EXPECT_EQ(chain[i]->staged_changes, staged && i > 0 ? static_cast<int>(kBytes / piece) : 0)
        << i;
  CHECK(head.answered.has_value(), "never answered");
  return std::chrono::duration<double, std::milli>(*head.answered).count();
}

TEST(ChainLatencyTest, ALargeWriteToThreeMembersTakesLittleLongerThanToOne) {
  const double one = Milliseconds(1, kBytes, false);
  const double whole = Milliseconds(3, kBytes, false);
  const double staged = Milliseconds(3, kBytes, true);
  const double one_in_pieces = Milliseconds(1, kBytes / 4, false);
  const double pieces = Milliseconds(3, kBytes / 4, false);
  std::printf(
      "one write of 4 MiB: one member %.2f ms, three %.2f (%.2f), without stages %.2f (%.2f)\n",
      one, staged, staged / one, whole, whole / one);
  std::printf("in writes of 1 MiB: one member %.2f ms, three %.2f (%.2f)\n", one_in_pieces, pieces,
              pieces / one_in_pieces);
  EXPECT_LE(staged / one, 1.4);
  EXPECT_GE(whole / one, 1.8);  // the links count for something here
  EXPECT_LE(pieces / one_in_pieces, 1.6);
}

}  // namespace
}  // namespace sheaf::storage
