#include "storage/service/data_frames.h"

#include <gtest/gtest.h>

#include <future>

#include "tests/storage/service/data_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_frame_client.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::RawFrameClient;
using transport::FrameType;
using transport::Method;

class DataFramesTest : public ::testing::Test {
 protected:
  DataFramesTest() {
    Address any;
    any.host = "127.0.0.1";
    auto socket = Listen(any, 16);
    CHECK(socket.ok());
    address_ = *BoundAddress(socket->get(), any);
    std::vector<UniqueFd> listeners;
    listeners.push_back(std::move(*socket));
    rig_.reactors->Serve(frames_, std::move(listeners));
    client_.emplace(address_);
    client_->Greet();
  }
  ~DataFramesTest() override {
    rig_.engine.Release();
    EXPECT_TRUE(rig_.reactors->StopServing(std::chrono::seconds(10)).ok());
  }

  // The answer's payload, its message in `response`.
  template <typename Response>
  Result<std::string> Call(Method method, const google::protobuf::Message& request,
                           Response* response, const std::string& payload = {}) {
    CHECK(client_->Send(
        RawFrameClient::Request(++id_, method, request.SerializeAsString(), payload)));
    auto answer = client_->Receive();
    CHECK(answer.has_value(), "connection closed");
    CHECK(answer->header.request_id == id_);
    if (answer->header.type == FrameType::kError)
      return transport::DecodeError(BytesOf(answer->message));
    CHECK(response->ParseFromString(answer->message));
    return std::string(answer->payload.begin(), answer->payload.end());
  }
  Status Write(uint64_t data_id, uint32_t offset, const std::string& bytes) {
    proto::WriteChunkResponse response;
    return Call(Method::kWrite, DataRig::WriteOf(data_id, offset, bytes), &response, bytes)
        .status();
  }
  Result<std::string> Read(uint64_t data_id, uint32_t offset, uint32_t length) {
    proto::ReadChunkResponse response;
    auto bytes = Call(Method::kRead, DataRig::ReadOf(data_id, offset, length), &response);
    if (bytes.ok()) {
      EXPECT_EQ(response.crc32c(), Crc32c(BytesOf(*bytes)));
    }
    return bytes;
  }

  // A write under a name, without waiting for its answer.
  void SendNamed(uint64_t incarnation, uint32_t stream, uint64_t sequence, uint64_t data_id,
                 const std::string& bytes) {
    proto::WriteChunkRequest request = DataRig::WriteOf(data_id, 0, bytes);
    request.mutable_ctx()->set_incarnation(incarnation);
    request.mutable_ctx()->set_stream(stream);
    request.mutable_ctx()->set_sequence(sequence);
    CHECK(client_->Send(
        RawFrameClient::Request(++id_, Method::kWrite, request.SerializeAsString(), bytes)));
  }
  Result<proto::WriteChunkResponse> ReceiveWritten() {
    auto answer = client_->Receive();
    CHECK(answer.has_value(), "connection closed");
    if (answer->header.type == FrameType::kError)
      return transport::DecodeError(BytesOf(answer->message));
    proto::WriteChunkResponse response;
    CHECK(response.ParseFromString(answer->message));
    return response;
  }
  Result<proto::WriteChunkResponse> WriteNamed(uint32_t stream, uint64_t sequence, uint64_t data_id,
                                               const std::string& bytes) {
    SendNamed(1, stream, sequence, data_id, bytes);
    return ReceiveWritten();
  }

  DataRig rig_;
  DataFrames frames_{rig_.data};
  Address address_;
  std::optional<RawFrameClient> client_;
  uint64_t id_ = 0;
};

TEST_F(DataFramesTest, ReadsBackWhatItWrote) {
  const std::string bytes(300'000, 'a');
  ASSERT_TRUE(Write(5, 1000, bytes).ok());
  auto read = Read(5, 1000, 300'000);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, bytes);
  EXPECT_EQ(Read(5, 0, 10)->substr(0, 10), std::string(10, '\0'));
}

TEST_F(DataFramesTest, AnAbsentChunkIsEmpty) { EXPECT_EQ(*Read(99, 0, 100), ""); }

TEST_F(DataFramesTest, AWrongChecksumIsRefused) {
  proto::WriteChunkRequest request = DataRig::WriteOf(5, 0, "right");
  proto::WriteChunkResponse response;
  EXPECT_EQ(Call(Method::kWrite, request, &response, "wrong").status().code(), Code::kCorrupt);
}

TEST_F(DataFramesTest, BadRequestsAreAnsweredAndTheConnectionGoesOn) {
  proto::WriteChunkRequest request = DataRig::WriteOf(5, 0, "x");
  proto::WriteChunkResponse response;
  request.set_chunk_size(12345);
  EXPECT_EQ(Call(Method::kWrite, request, &response, "x").status().code(), Code::kInvalid);
  EXPECT_EQ(Call(Method::kWrite, DataRig::WriteOf(5, 0, ""), &response).status().code(),
            Code::kInvalid);
  EXPECT_EQ(Call(Method::kRead, DataRig::ReadOf(5, 0, 1), &response, "payload").status().code(),
            Code::kProtocol);
  EXPECT_EQ(Call(static_cast<Method>(77), request, &response).status().code(), Code::kUnsupported);
  ASSERT_TRUE(client_->Send(RawFrameClient::Request(++id_, Method::kRead, "\xff\xff\xff")));
  auto answer = client_->Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(transport::DecodeError(BytesOf(answer->message)).code(), Code::kProtocol);
  EXPECT_TRUE(Write(5, 0, "x").ok());
}

TEST_F(DataFramesTest, ChainVersionLeaseAndFenceAreChecked) {
  proto::ReadChunkRequest read = DataRig::ReadOf(5, 0, 1);
  proto::ReadChunkResponse response;
  read.mutable_ctx()->set_chain_version(kChainVersion + 1);
  EXPECT_EQ(Call(Method::kRead, read, &response).status().code(), Code::kWrongChain);
  proto::WriteChunkRequest write = DataRig::WriteOf(5, 0, "x");
  write.mutable_ctx()->set_incarnation(66);
  EXPECT_EQ(Call(Method::kWrite, write, &response, "x").status().code(), Code::kFenced);
  rig_.replicas.DropLease();
  EXPECT_EQ(Read(5, 0, 1).status().code(), Code::kNotServing);
}

TEST_F(DataFramesTest, AnAnswerDoesNotLeaveOnceTheLeaseIsOut) {
  ASSERT_TRUE(Write(5, 0, "x").ok());
  rig_.engine.Hold();
  ASSERT_TRUE(client_->Send(
      RawFrameClient::Request(++id_, Method::kRead, DataRig::ReadOf(5, 0, 1).SerializeAsString())));
  while (rig_.engine.held() == 0) std::this_thread::yield();
  rig_.replicas.DropLease();
  rig_.engine.Release();
  auto answer = client_->Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(transport::DecodeError(BytesOf(answer->message)).code(), Code::kNotServing);
}

TEST_F(DataFramesTest, EngineErrorsReachTheCaller) {
  rig_.engine.FailWith({Code::kNoSpace, "full"});
  EXPECT_EQ(Write(5, 0, "x").code(), Code::kNoSpace);
}

TEST_F(DataFramesTest, TruncatesRemovesAndLists) {
  for (uint64_t id : {5u, 6u}) ASSERT_TRUE(Write(id, 0, "12345678").ok());
  proto::TruncateChunkRequest truncate;
  DataRig::SetContext(truncate);
  truncate.mutable_chunk()->set_data_id(5);
  truncate.set_chunk_size(1 << 22);
  truncate.set_length(3);
  proto::TruncateChunkResponse truncated;
  ASSERT_TRUE(Call(Method::kTruncate, truncate, &truncated).ok());
  EXPECT_EQ(truncated.chunk_length(), 3u);

  proto::ListChunksRequest list;
  DataRig::SetContext(list);
  list.set_limit(1);
  proto::ListChunksResponse page;
  ASSERT_TRUE(Call(Method::kList, list, &page).ok());
  ASSERT_EQ(page.chunks_size(), 1);
  EXPECT_EQ(page.chunks(0).length(), 3u);
  EXPECT_FALSE(page.end());
  *list.mutable_after() = page.chunks(0).chunk();
  list.set_limit(10);
  ASSERT_TRUE(Call(Method::kList, list, &page).ok());
  ASSERT_EQ(page.chunks_size(), 1);
  EXPECT_EQ(page.chunks(0).chunk().data_id(), 6u);
  EXPECT_TRUE(page.end());

  proto::RemoveChunksRequest remove;
  DataRig::SetContext(remove);
  remove.set_data_id(5);
  proto::RemoveChunksResponse removed;
  ASSERT_TRUE(Call(Method::kRemove, remove, &removed).ok());
  EXPECT_EQ(removed.removed(), 1u);
  EXPECT_FALSE(removed.more());
}

TEST_F(DataFramesTest, TellsSpaceAndHealth) {
  ASSERT_TRUE(Write(5, 0, "1234").ok());
  proto::SpaceResponse space;
  ASSERT_TRUE(Call(Method::kSpace, proto::SpaceRequest(), &space).ok());
  ASSERT_EQ(space.targets_size(), 1);
  EXPECT_EQ(space.targets(0).target_id(), 1u);
  EXPECT_EQ(space.targets(0).used_bytes(), 4u);
  proto::HealthResponse health;
  ASSERT_TRUE(Call(Method::kHealth, proto::HealthRequest(), &health).ok());
  EXPECT_TRUE(health.serving()) << health.reason();
  rig_.engine.SetHealth({Code::kIo, "disk is gone"});
  ASSERT_TRUE(Call(Method::kHealth, proto::HealthRequest(), &health).ok());
  EXPECT_FALSE(health.serving());
  EXPECT_EQ(health.reason(), "disk is gone");
}

TEST_F(DataFramesTest, ARepeatedWriteIsNotExecutedAgain) {
  const auto first = WriteNamed(1, 7, 5, "first");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(WriteNamed(2, 1, 5, "later").ok());
  const auto again = WriteNamed(1, 7, 5, "first");
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(again->version(), first->version());
  EXPECT_EQ(*Read(5, 0, 5), "later");
}

TEST_F(DataFramesTest, ALateDuplicateIsRefusedWithoutEffect) {
  ASSERT_TRUE(WriteNamed(1, 7, 5, "first").ok());
  ASSERT_TRUE(WriteNamed(1, 8, 6, "other chunk, same stream").ok());
  ASSERT_TRUE(WriteNamed(2, 1, 5, "later").ok());
  EXPECT_EQ(WriteNamed(1, 7, 5, "first").status().code(), Code::kCancelled);
  EXPECT_EQ(*Read(5, 0, 5), "later");
}

TEST_F(DataFramesTest, ARefusedWriteMayComeAgain) {
  rig_.engine.FailWith({Code::kNoSpace, "full"});
  EXPECT_EQ(WriteNamed(1, 7, 5, "bytes").status().code(), Code::kNoSpace);
  rig_.engine.FailWith(Status());
  EXPECT_TRUE(WriteNamed(1, 7, 5, "bytes").ok());
  EXPECT_EQ(*Read(5, 0, 5), "bytes");
}

TEST_F(DataFramesTest, ARepeatedWriteJoinsTheOneUnderWay) {
  rig_.engine.Hold();
  SendNamed(1, 1, 7, 5, "bytes");
  SendNamed(1, 1, 7, 5, "bytes");
  while (rig_.replicas.GetCounts().streams.repeated == 0) std::this_thread::yield();
  EXPECT_EQ(rig_.engine.held(), 1u);
  rig_.engine.Release();
  const auto one = ReceiveWritten();
  const auto other = ReceiveWritten();
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(one->version(), other->version());
}

TEST_F(DataFramesTest, RepeatedTruncatesAndRemovalsAreNotExecutedAgain) {
  ASSERT_TRUE(WriteNamed(1, 1, 5, "12345678").ok());
  proto::TruncateChunkRequest truncate;
  DataRig::SetContext(truncate);
  truncate.mutable_ctx()->set_stream(2);
  truncate.mutable_ctx()->set_sequence(1);
  truncate.mutable_chunk()->set_data_id(5);
  truncate.set_chunk_size(1 << 22);
  truncate.set_length(3);
  proto::TruncateChunkResponse truncated;
  ASSERT_TRUE(Call(Method::kTruncate, truncate, &truncated).ok());
  ASSERT_TRUE(WriteNamed(1, 2, 5, "longer again").ok());
  ASSERT_TRUE(Call(Method::kTruncate, truncate, &truncated).ok());
  EXPECT_EQ(truncated.chunk_length(), 3u) << "the first answer";
  EXPECT_EQ(*Read(5, 0, 100), "longer again");

  proto::RemoveChunksRequest remove;
  DataRig::SetContext(remove);
  remove.mutable_ctx()->set_stream(2);
  remove.mutable_ctx()->set_sequence(2);
  remove.set_data_id(5);
  proto::RemoveChunksResponse removed;
  ASSERT_TRUE(Call(Method::kRemove, remove, &removed).ok());
  ASSERT_TRUE(WriteNamed(1, 3, 5, "new").ok());
  ASSERT_TRUE(Call(Method::kRemove, remove, &removed).ok());
  EXPECT_EQ(removed.removed(), 1u) << "the first answer";
  EXPECT_EQ(*Read(5, 0, 100), "new");
  truncate.set_length(0);
  EXPECT_EQ(Call(Method::kTruncate, truncate, &truncated).status().code(), Code::kCancelled);
}

TEST_F(DataFramesTest, AFenceIsInForceOnceNothingItRefusesIsUnderWay) {
  ASSERT_EQ(rig_.replicas.map_in_force(), MapVersion(1));
  rig_.engine.Hold();
  SendNamed(70, 1, 1, 5, "admitted before the fence");
  SendNamed(71, 1, 1, 6, "another client");
  while (rig_.engine.held() < 2) std::this_thread::yield();
  proto::ClusterMap map = DataRig::Map(2);
  map.mutable_fenced(0)->set_last(70);
  rig_.replicas.ApplyMap(map);
  EXPECT_EQ(rig_.replicas.map_version(), MapVersion(2));
  EXPECT_EQ(rig_.replicas.map_in_force(), MapVersion(1));
  rig_.engine.Release();
  EXPECT_EQ(ReceiveWritten().status().code(), Code::kFenced);
  EXPECT_TRUE(ReceiveWritten().ok());
  EXPECT_EQ(rig_.replicas.map_in_force(), MapVersion(2));
  rig_.replicas.ApplyMap(map);
  EXPECT_EQ(rig_.replicas.GetCounts().streams.streams, 1u) << "the fenced client is forgotten";
}

// Otherwise a fence could come into force between its admission and its being seen.
TEST_F(DataFramesTest, AMutationIsAdmittedAndSeenAsUnderWayInOneStep) {
  ASSERT_EQ(rig_.replicas.map_in_force(), MapVersion(1));
  rig_.engine.Hold();
  std::future<MapVersion> in_force;  // of the map that fences it, applied while it is admitted
  int asked = 0;
  rig_.clock.WhenAsked([&] {
    // First when the chain is looked up, then by the replica.
    if (++asked != 2) return;
    in_force = std::async(std::launch::async, [&] {
      proto::ClusterMap map = DataRig::Map(2);
      map.mutable_fenced(0)->set_first(1);
      rig_.replicas.ApplyMap(map);
      return rig_.replicas.map_in_force();
    });
    EXPECT_TRUE(testing::Eventually([&] { return rig_.replicas.map_version() == MapVersion(2); }));
    in_force.wait_for(std::chrono::milliseconds(50));  // it must not, but could
  });
  SendNamed(1, 1, 1, 5, "admitted under the map before");
  while (rig_.engine.held() < 1) std::this_thread::yield();
  EXPECT_EQ(in_force.get(), MapVersion(1));
  rig_.clock.WhenAsked(nullptr);
  rig_.engine.Release();
  EXPECT_EQ(ReceiveWritten().status().code(), Code::kFenced);
  EXPECT_EQ(rig_.replicas.map_in_force(), MapVersion(2));
}

}  // namespace
}  // namespace sheaf::storage
