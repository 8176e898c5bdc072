#include "storage/replica/admission.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

using std::chrono::seconds;

class AdmissionTest : public ::testing::Test {
 protected:
  AdmissionTest() {
    ChainView chain;
    chain.id = ChainId(7);
    chain.version = ChainVersion(3);
    chain.members.push_back({TargetId(1), NodeId(1), proto::SERVING});
    map_.version = MapVersion(12);
    map_.chains.emplace(chain.id, chain);
    Fence(66);
    state_ = {&map_, seconds(100), seconds(50)};
    request_ = {ChainId(7), ChainVersion(3), Incarnation(5), Access::kMutate};
  }
  void Fence(uint64_t incarnation) {
    proto::IncarnationRange range;
    range.set_first(incarnation);
    range.set_last(incarnation);
    map_.fenced.push_back(range);
  }
  Code Verdict() { return Admit(state_, request_).status().code(); }
  void SetMember(proto::TargetState state) { map_.chains.at(ChainId(7)).members[0].state = state; }

  ChainMap map_;
  AdmissionState state_;
  AdmissionRequest request_;
};

TEST_F(AdmissionTest, AdmitsAndNamesTheChain) {
  auto chain = Admit(state_, request_);
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ((*chain)->id, ChainId(7));
}

TEST_F(AdmissionTest, ServesUntilTheLeaseRunsOutAndNotAtThatMoment) {
  state_.now = state_.lease_deadline - Clock::Instant(1);
  EXPECT_EQ(Verdict(), Code::kOk);
  state_.now = state_.lease_deadline;
  EXPECT_EQ(Verdict(), Code::kNotServing);
}

TEST_F(AdmissionTest, ServesNothingWithoutAMap) {
  state_.map = nullptr;
  EXPECT_EQ(Verdict(), Code::kNotServing);
  EXPECT_EQ(CheckLease(state_).code(), Code::kNotServing);
}

TEST_F(AdmissionTest, RefusesAChainThatIsNotHere) {
  request_.chain = ChainId(8);
  EXPECT_EQ(Verdict(), Code::kWrongChain);
}

TEST_F(AdmissionTest, RefusesAnOlderAndANewerVersion) {
  request_.chain_version = ChainVersion(2);
  EXPECT_EQ(Verdict(), Code::kWrongChain);
  request_.chain_version = ChainVersion(4);
  EXPECT_EQ(Verdict(), Code::kWrongChain);
}

TEST_F(AdmissionTest, TheLeaseComesBeforeTheVersion) {
  // A node without a lease may hold an old map; what it thinks of versions says nothing.
  state_.now = seconds(200);
  request_.chain_version = ChainVersion(2);
  EXPECT_EQ(Verdict(), Code::kNotServing);
}

TEST_F(AdmissionTest, AMemberThatLeavesAnswersNoReads) {
  map_.chains.at(ChainId(7)).members[0].leaving = true;
  EXPECT_EQ(Verdict(), Code::kOk) << "it takes part in every commit still";
  request_.access = Access::kRead;
  EXPECT_EQ(Verdict(), Code::kNotServing);
}

TEST_F(AdmissionTest, AMemberThatDoesNotServeRefuses) {
  for (auto state :
       {proto::WAITING, proto::LAST_SERVING, proto::OFFLINE, proto::TARGET_STATE_UNSPECIFIED}) {
    SetMember(state);
    EXPECT_EQ(Verdict(), Code::kNotServing);
  }
}

TEST_F(AdmissionTest, AMemberThatCatchesUpTakesMutationsOnly) {
  SetMember(proto::SYNCING);
  EXPECT_EQ(Verdict(), Code::kOk);
  request_.access = Access::kRead;
  EXPECT_EQ(Verdict(), Code::kNotServing);
}

TEST_F(AdmissionTest, FencedClientsReadButDoNotMutate) {
  request_.incarnation = Incarnation(66);
  EXPECT_EQ(Verdict(), Code::kFenced);
  request_.access = Access::kRead;
  EXPECT_EQ(Verdict(), Code::kOk);
}

TEST_F(AdmissionTest, TheMetadataServiceHasNoIncarnationAndIsNeverFenced) {
  map_.fenced.clear();
  Fence(0);
  request_.incarnation = Incarnation(0);
  EXPECT_EQ(Verdict(), Code::kOk);
}

}  // namespace
}  // namespace sheaf::storage
