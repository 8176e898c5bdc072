#include "client/cli/replica_check.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sheaf::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint32_t kChain = 7;

// One chain of three; targets 1 to 3. What nobody here asks for is not there.
class FakeChain final : public CheckSource {
 public:
  struct Chunk {
    uint64_t version = 1;
    uint32_t checksum = 1;
  };

  Result<proto::ClusterMap> Map() override {
    proto::ClusterMap map;
    proto::Chain* chain = map.add_chains();
    chain->set_id(kChain);
    for (uint32_t target = 1; target <= 3; ++target) {
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(target);
      member->set_state(target == syncing ? proto::SYNCING : proto::SERVING);
      member->set_leaving(target == leaving);
    }
    return map;
  }
  Result<proto::ListChunksResponse> ListReplica(uint32_t chain, uint32_t target,
                                                std::optional<ChunkId> after,
                                                std::optional<uint64_t> data_id,
                                                uint32_t limit) override {
    EXPECT_EQ(chain, kChain);
    if (!status.ok()) return std::exchange(status, next_status);
    proto::ListChunksResponse page;
    page.set_end(true);
    for (const auto& [id, chunk] : replicas.at(target)) {
      if ((after && id <= *after) || (data_id && id.data_id.value() != *data_id)) continue;
      if (static_cast<uint32_t>(page.chunks_size()) == limit) {
        page.set_end(false);
        break;
      }
      proto::ChunkInfo* info = page.add_chunks();
      info->mutable_chunk()->set_data_id(id.data_id.value());
      info->mutable_chunk()->set_index(id.index);
      info->set_length(100);
      info->set_version(chunk.version);
      info->set_chain_version(4);
      info->set_checksum(chunk.checksum);
    }
    return page;
  }

  Result<uint64_t> BeginCheck() override { return None(); }
  Result<proto::StepCheckResponse> StepCheck(uint64_t) override { return None(); }
  Result<proto::RepairFindingResponse> Repair(uint64_t, const proto::Finding&) override {
    return None();
  }
  Status EndCheck(uint64_t) override { return None(); }
  Result<proto::ListDataResponse> ListData(const proto::ListDataRequest&) override {
    return None();
  }
  Result<proto::GetDataResponse> GetData(uint64_t) override { return None(); }
  Result<proto::DropOrphansResponse> DropOrphans(const proto::DropOrphansRequest&) override {
    return None();
  }
  Result<proto::ListChunksResponse> ListChunks(uint32_t, std::optional<ChunkId>,
                                               std::optional<uint64_t>, uint32_t) override {
    return None();
  }

  std::map<uint32_t, std::map<ChunkId, Chunk>> replicas;  // by target
  uint32_t syncing = 0;
  uint32_t leaving = 0;
  Status status;       // of the next call
  Status next_status;  // and of those after it

 private:
  static Status None() { return {Code::kUnsupported, "not here"}; }
};

class ReplicaCheckTest : public ::testing::Test {
 protected:
  ReplicaCheckTest() {
    for (uint32_t target = 1; target <= 3; ++target) {
      for (uint64_t file = 1; file <= 10; ++file) chain_.replicas[target][Id(file)] = {};
    }
  }
  static ChunkId Id(uint64_t file) { return {DataId(file), 2}; }
  FakeChain::Chunk& At(uint32_t target, uint64_t file) { return chain_.replicas[target][Id(file)]; }
  std::vector<std::string> Check(uint32_t page = 3) {
    std::vector<std::string> texts;
    pauses_ = 0;
    ReplicaCheck check(
        chain_,
        [&](const proto::Finding& finding) {
          texts.push_back(finding.text());
          return Status::Ok();
        },
        [&] {
          ++pauses_;
          if (meanwhile_) meanwhile_();
        },
        page);
    const Status status = check.Run();
    EXPECT_TRUE(status.ok()) << status.ToString();
    return texts;
  }

  FakeChain chain_;
  int pauses_ = 0;
  std::function<void()> meanwhile_;
};

TEST_F(ReplicaCheckTest, EqualReplicasNeedOneLook) {
  EXPECT_THAT(Check(), IsEmpty());
  EXPECT_EQ(pauses_, 0);
}

TEST_F(ReplicaCheckTest, WhatDiffersInAnyRespectIsTold) {
  At(2, 4).checksum = 0xabc;
  At(1, 9).version = 2;
  chain_.replicas[3].erase(Id(10));
  chain_.replicas[2][Id(11)] = {};
  for (uint32_t page : {1, 2, 3, 4, 100}) {
    EXPECT_THAT(
        Check(page),
        ElementsAre(AllOf(HasSubstr("chunk 4.2 on chain 7: replicas differ"),
                          HasSubstr("target 1: version 1 of 4, 100 bytes, checksum 00000001"),
                          HasSubstr("target 2: version 1 of 4, 100 bytes, checksum 00000abc"),
                          HasSubstr("): target 2 alone, the others agree")),
                    AllOf(HasSubstr("9.2"), HasSubstr("): target 1 alone")), AllOf(HasSubstr("10.2"), HasSubstr("target 3 has none")),
                    AllOf(HasSubstr("11.2"), HasSubstr("target 1 has none, target 2: version 1"))))
        << page;
    EXPECT_EQ(pauses_, ReplicaCheck::kLooks - 1);
  }
}

TEST_F(ReplicaCheckTest, OfTwoNoneIsAlone) {
  At(1, 4).checksum = 2;
  At(3, 4).checksum = 3;
  EXPECT_THAT(Check(), ElementsAre(Not(HasSubstr("alone"))));
  chain_.syncing = 2;
  EXPECT_THAT(Check(), ElementsAre(Not(HasSubstr("alone"))));
}

TEST_F(ReplicaCheckTest, AChangeOnItsWayIsNoDifference) {
  At(1, 5) = {2, 2};
  meanwhile_ = [&] { At(2, 5) = At(3, 5) = {2, 2}; };
  EXPECT_THAT(Check(), IsEmpty());
}

TEST_F(ReplicaCheckTest, AChunkThatIsWrittenAllTheTimeIsNone) {
  At(1, 5) = {2, 2};
  meanwhile_ = [&] {
    At(2, 5) = At(3, 5) = At(1, 5);
    ++At(1, 5).version;
    ++At(1, 5).checksum;
  };
  EXPECT_THAT(Check(), IsEmpty());
}

TEST_F(ReplicaCheckTest, OneThatIsWrittenAndHasOtherBytesIsFound) {
  At(2, 5).checksum = 1000;
  meanwhile_ = [&] {
    for (uint32_t target = 1; target <= 3; ++target) {
      ++At(target, 5).version;
      ++At(target, 5).checksum;
    }
  };
  EXPECT_THAT(Check(), ElementsAre(HasSubstr("5.2")));
}

TEST_F(ReplicaCheckTest, MembersThatDoNotServeAreNotLookedAt) {
  chain_.replicas[2].clear();
  chain_.syncing = 2;
  EXPECT_THAT(Check(), IsEmpty());
  chain_.leaving = std::exchange(chain_.syncing, 0);
  EXPECT_THAT(Check(), IsEmpty());
}

TEST_F(ReplicaCheckTest, AChainThatChangesIsBegunAnew) {
  At(2, 4).checksum = 5;
  chain_.status = Status(Code::kWrongChain, "newer");
  EXPECT_THAT(Check(), ElementsAre(HasSubstr("4.2")));
  chain_.status = chain_.next_status = Status(Code::kNotServing, "away");
  EXPECT_THAT(Check(), ElementsAre(HasSubstr("could not be compared: away")));
}

}  // namespace
}  // namespace sheaf::cli
