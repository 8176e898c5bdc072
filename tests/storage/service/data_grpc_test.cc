#include "storage/service/data_grpc.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "common/rpc.h"
#include "tests/storage/service/data_rig.h"

namespace sheaf::storage {
namespace {

class DataGrpcTest : public ::testing::Test {
 protected:
  void Start(const DataGrpc::Options& options = {}) {
    service_ = std::make_unique<DataGrpc>(rig_.data, *rig_.reactors, options);
    RpcServer::Options server;
    server.listen = "127.0.0.1:0";
    server.services = {service_.get()};
    auto started = RpcServer::Start(server);
    CHECK(started.ok(), started.status().ToString());
    server_ = std::move(*started);
    stub_ = proto::Data::NewStub(MakeChannel(server_->address()));
  }
  ~DataGrpcTest() override { rig_.engine.Release(); }

  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  }
  Status Write(uint64_t data_id, const std::string& bytes) {
    proto::WriteChunkRequest request = DataRig::WriteOf(data_id, 0, bytes);
    request.set_data(bytes);
    proto::WriteChunkResponse response;
    grpc::ClientContext context;
    SetDeadline(context);
    return FromGrpc(stub_->Write(&context, request, &response));
  }
  Result<std::string> Read(const proto::ReadChunkRequest& request) {
    proto::ReadChunkResponse response;
    grpc::ClientContext context;
    SetDeadline(context);
    RETURN_IF_ERROR(FromGrpc(stub_->Read(&context, request, &response)));
    EXPECT_EQ(response.crc32c(), Crc32c(BytesOf(response.data())));
    return response.data();
  }

  DataRig rig_;
  std::unique_ptr<DataGrpc> service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<proto::Data::Stub> stub_;
};

TEST_F(DataGrpcTest, AStockClientReadsBackWhatItWrote) {
  Start();
  const std::string bytes(1 << 20, 'q');
  ASSERT_TRUE(Write(5, bytes).ok());
  auto read = Read(DataRig::ReadOf(5, 0, 1 << 20));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, bytes);
}

TEST_F(DataGrpcTest, ErrorsKeepTheirCode) {
  Start();
  proto::ReadChunkRequest request = DataRig::ReadOf(5, 0, 1);
  request.mutable_ctx()->set_chain_version(99);
  EXPECT_EQ(Read(request).status().code(), Code::kWrongChain);
  EXPECT_EQ(Read({}).status().code(), Code::kInvalid);
  EXPECT_EQ(Write(5, "").code(), Code::kInvalid);
}

TEST_F(DataGrpcTest, OtherCallsGoTheSameWay) {
  Start();
  ASSERT_TRUE(Write(5, "12345").ok());
  {
    proto::TruncateChunkRequest request;
    DataRig::SetContext(request);
    request.mutable_chunk()->set_data_id(5);
    request.set_chunk_size(1 << 22);
    request.set_length(2);
    proto::TruncateChunkResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Truncate(&context, request, &response).ok());
    EXPECT_EQ(response.chunk_length(), 2u);
  }
  {
    proto::ListChunksRequest request;
    DataRig::SetContext(request);
    proto::ListChunksResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->List(&context, request, &response).ok());
    EXPECT_EQ(response.chunks_size(), 1);
  }
  {
    proto::RemoveChunksRequest request;
    DataRig::SetContext(request);
    request.set_data_id(5);
    proto::RemoveChunksResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Remove(&context, request, &response).ok());
    EXPECT_EQ(response.removed(), 1u);
  }
  {
    proto::SpaceResponse space;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Space(&context, {}, &space).ok());
    EXPECT_EQ(space.targets_size(), 1);
  }
  proto::HealthResponse health;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Health(&context, {}, &health).ok());
  EXPECT_TRUE(health.serving());
}

TEST_F(DataGrpcTest, BatchReadAnswersEverySlotWithItsOwnStatus) {
  Start();
  proto::BatchReadRequest request;
  for (uint32_t i = 0; i < 100; ++i) {
    if (i % 10 != 9) {
      ASSERT_TRUE(Write(i + 1, std::string(100 + i, 'x')).ok());
    }
    *request.add_reads() = DataRig::ReadOf(i + 1, 0, 1000);
    if (i % 10 == 9) request.mutable_reads()->rbegin()->mutable_ctx()->set_chain_id(99);
  }
  grpc::ClientContext context;
  SetDeadline(context);
  auto stream = stub_->BatchRead(&context, request);
  std::set<uint32_t> slots;
  proto::BatchReadResponse answer;
  while (stream->Read(&answer)) {
    EXPECT_TRUE(slots.insert(answer.slot()).second);
    if (answer.slot() % 10 == 9) {
      EXPECT_EQ(CodeFromNumber(answer.error_code()), Code::kWrongChain);
    } else {
      EXPECT_EQ(answer.read().data().size(), 100 + answer.slot());
    }
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(slots.size(), 100u);
}

TEST_F(DataGrpcTest, AnEmptyBatchEndsAtOnceAndOneTooLongIsRefused) {
  DataGrpc::Options options;
  options.batch_reads = 3;
  Start(options);
  proto::BatchReadRequest request;
  proto::BatchReadResponse answer;
  {
    grpc::ClientContext context;
    auto stream = stub_->BatchRead(&context, request);
    EXPECT_FALSE(stream->Read(&answer));
    EXPECT_TRUE(stream->Finish().ok());
  }
  for (int i = 0; i < 4; ++i) request.add_reads();
  grpc::ClientContext context;
  auto stream = stub_->BatchRead(&context, request);
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(FromGrpc(stream->Finish()).code(), Code::kTooBig);
}

TEST_F(DataGrpcTest, ABatchWhoseCallerGoesEnds) {
  Start();
  ASSERT_TRUE(Write(1, "x").ok());
  proto::BatchReadRequest request;
  for (int i = 0; i < 50; ++i) *request.add_reads() = DataRig::ReadOf(1, 0, 1);
  rig_.engine.Hold();
  {
    grpc::ClientContext context;
    auto stream = stub_->BatchRead(&context, request);
    while (rig_.engine.held() == 0) std::this_thread::yield();
    context.TryCancel();
    EXPECT_EQ(FromGrpc(stream->Finish()).code(), Code::kCancelled);
  }
  rig_.engine.Release();
  server_.reset();  // returns: nothing is left under way
}

TEST_F(DataGrpcTest, OneCallTooManyIsAnsweredBusy) {
  DataGrpc::Options options;
  options.calls_under_way = 1;
  Start(options);
  rig_.engine.Hold();
  std::thread first([&] { EXPECT_TRUE(Read(DataRig::ReadOf(1, 0, 1)).ok()); });
  while (rig_.engine.held() == 0) std::this_thread::yield();
  EXPECT_EQ(Read(DataRig::ReadOf(1, 0, 1)).status().code(), Code::kBusy);
  rig_.engine.Release();
  first.join();
}

}  // namespace
}  // namespace sheaf::storage
