#include "meta/cluster/truncations.h"

#include <gtest/gtest.h>

#include <future>

#include "meta/ops/ops.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_trimmer.h"
#include "tests/support/memory_kv.h"
#include "tests/support/test_meta.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::Eventually;

class TruncationsTest : public ::testing::Test {
 protected:
  TruncationsTest() : meta_(store_) {
    options_.interval = std::chrono::milliseconds(1);
    auto created = meta_.Create(1, "file");
    CHECK(created.ok(), created.status().ToString());
    inode_ = created->attr().inode();
    data_id_ = DataId(created->attr().data_id());
    CHECK(meta_.Fsync(inode_, created->attr().size_epoch(), 100'000'000).ok());
  }

  void Start() {
    truncations_ = std::make_unique<Truncations>(meta_.executor(), trimmer_, options_);
  }

  std::future<Result<std::string>> Truncate(uint64_t size, proto::Context context) {
    proto::TruncateRequest request;
    *request.mutable_ctx() = std::move(context);
    request.set_inode(inode_);
    request.set_size(size);
    auto promise = std::make_shared<std::promise<Result<std::string>>>();
    auto answer = promise->get_future();
    truncations_->Truncate(*RequestIdOf(request.ctx()), request,
                           [promise](Result<std::string> result) { promise->set_value(result); });
    return answer;
  }
  std::future<Result<std::string>> Truncate(uint64_t size) {
    return Truncate(size, meta_.NextContext());
  }

  bool Pending() { return ReadTruncateIntent(*meta_.executor().Committed(), InodeId(inode_)).ok(); }
  uint64_t Size() { return meta_.GetAttr(inode_)->size(); }

  MemoryKv store_;
  TestMeta meta_;
  FakeTrimmer trimmer_;
  TruncationOptions options_;
  uint64_t inode_ = 0;
  DataId data_id_;
  std::unique_ptr<Truncations> truncations_;
};

TEST_F(TruncationsTest, AnswersWhenTheTailIsTrimmed) {
  Start();
  trimmer_.Hold();
  auto answer = Truncate(5000);
  trimmer_.AwaitCalls(1);
  EXPECT_EQ(Size(), 5000u);
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(meta_.Truncate(inode_, 9000).status().code(), Code::kBusy)
      << "nobody extends while old bytes may be there";
  trimmer_.Release();
  Result<std::string> result = answer.get();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  proto::AttrResponse response;
  ASSERT_TRUE(response.ParseFromString(*result));
  EXPECT_EQ(response.attr().size(), 5000u);
  EXPECT_FALSE(Pending());
  ASSERT_EQ(trimmer_.done().size(), 1u);
  EXPECT_EQ(trimmer_.done()[0].data_id, data_id_);
  EXPECT_EQ(trimmer_.done()[0].keep_bytes, 5000u);
  EXPECT_TRUE(Truncate(9000).get().ok());
}

TEST_F(TruncationsTest, ExtendingAsksNoStorage) {
  Start();
  ASSERT_TRUE(Truncate(200'000'000).get().ok());
  EXPECT_TRUE(trimmer_.done().empty());
}

TEST_F(TruncationsTest, ToNothingAsksNoStorage) {
  Start();
  ASSERT_TRUE(Truncate(0).get().ok());
  EXPECT_EQ(Size(), 0u);
  EXPECT_TRUE(trimmer_.done().empty());
}

TEST_F(TruncationsTest, ARetryWaitsForTheTrimToo) {
  Start();
  trimmer_.Fail(data_id_, {Code::kUnavailable, "chain 3 does not serve"});
  const proto::Context context = meta_.NextContext();
  Result<std::string> result = Truncate(5000, context).get();
  EXPECT_EQ(result.status().code(), Code::kUnavailable);
  EXPECT_TRUE(Pending());
  trimmer_.Heal();
  result = Truncate(5000, context).get();
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_FALSE(Pending());
}

TEST_F(TruncationsTest, FinishesInTheBackgroundWhatFailed) {
  Start();
  trimmer_.Fail(data_id_, {Code::kUnavailable, "chain 3 does not serve"});
  EXPECT_FALSE(Truncate(5000).get().ok());
  trimmer_.Heal();
  EXPECT_TRUE(Eventually([&] { return !Pending(); }));
}

TEST_F(TruncationsTest, FinishesWhatAnEarlierProcessLeft) {
  ASSERT_TRUE(meta_.Truncate(inode_, 5000).ok());  // and then it was killed
  ASSERT_TRUE(Pending());
  Start();
  EXPECT_TRUE(Eventually([&] { return !Pending(); }));
  EXPECT_TRUE(trimmer_.Trimmed(data_id_));
}

TEST_F(TruncationsTest, OneAfterTheOtherOnOneFile) {
  Start();
  trimmer_.Hold();
  auto first = Truncate(9'000'000);
  trimmer_.AwaitCalls(1);
  auto second = Truncate(4000);
  trimmer_.Release();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
  EXPECT_FALSE(Pending());
  EXPECT_EQ(trimmer_.done().back().keep_bytes, 4000u);
}

TEST_F(TruncationsTest, AnErrorOfTheOperationIsAnswered) {
  Start();
  meta_.ActAs(1000, 1000);
  EXPECT_EQ(Truncate(10).get().status().code(), Code::kAccess);
}

}  // namespace
}  // namespace sheaf::meta
