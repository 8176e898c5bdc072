#include "storage/service/link_probes.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

#include "tests/support/fake_clock.h"

namespace sheaf::storage {
namespace {

// Answers at once for some targets, and for others when it is told to.
class FakePeers final : public Peers {
 public:
  void Call(TargetId to, transport::Call call, transport::Done done) override {
    EXPECT_EQ(call.method, transport::Method::kEcho);
    asked_.push_back(to);
    if (silent_.contains(to)) return waiting_.push_back(std::move(done));
    done(refused_.contains(to) ? Result<transport::Reply>(refusal_)
                               : Result<transport::Reply>(transport::Reply()));
  }

  std::vector<TargetId> asked_;
  std::set<TargetId> silent_;
  std::set<TargetId> refused_;
  Status refusal_{Code::kUnavailable, "no way"};
  std::vector<transport::Done> waiting_;
};

// Node n has target n; this is node 1. Chains 1-2-3 and 2-4.
class LinkProbesTest : public ::testing::Test {
 protected:
  LinkProbesTest() { probes_.Update(Map()); }

  static proto::ClusterMap Map(uint32_t down = 0) {
    proto::ClusterMap map;
    for (uint32_t id = 1; id <= 4; ++id) {
      proto::Node* node = map.add_nodes();
      node->set_id(id);
      node->set_state(id == down ? proto::NODE_DOWN : proto::NODE_UP);
      proto::Target* target = map.add_targets();
      target->set_id(id);
      target->set_node_id(id);
      target->set_uuid("target" + std::to_string(id));
    }
    for (const auto& members : {std::vector<uint32_t>{1, 2, 3}, {2, 4}}) {
      proto::Chain* chain = map.add_chains();
      for (uint32_t member : members) chain->add_members()->set_target_id(member);
    }
    return map;
  }
  void Rounds(uint32_t rounds) {
    for (uint32_t i = 0; i < rounds; ++i) {
      clock_.Advance(LinkProbes::kRound);
      probes_.Tick();
    }
  }

  FakeClock clock_;
  FakePeers peers_;
  LinkProbes probes_{peers_, {"target1"}, clock_, nullptr};
};

TEST_F(LinkProbesTest, AsksThoseThatShareAChainOnceARound) {
  Rounds(1);
  EXPECT_EQ(peers_.asked_, (std::vector<TargetId>{TargetId(2), TargetId(3)}));
  probes_.Tick();
  EXPECT_EQ(peers_.asked_.size(), 2u) << "none is due";
  Rounds(1);
  EXPECT_EQ(peers_.asked_.size(), 4u);
}

TEST_F(LinkProbesTest, TellsWhoDoesNotAnswer) {
  peers_.silent_ = {TargetId(2)};
  peers_.refused_ = {TargetId(3)};
  Rounds(LinkWatch::kMissedMax);
  EXPECT_EQ(probes_.OutOfReach(), std::vector<NodeId>{});
  Rounds(1);
  EXPECT_EQ(probes_.OutOfReach(), (std::vector<NodeId>{NodeId(2), NodeId(3)}));
  peers_.silent_.clear();
  Rounds(LinkWatch::kAnsweredMin + 1);
  EXPECT_EQ(probes_.OutOfReach(), std::vector<NodeId>{NodeId(3)});
}

TEST_F(LinkProbesTest, WhoRefusesAnswers) {
  peers_.refused_ = {TargetId(3)};
  for (const Code code : {Code::kBusy, Code::kUnsupported}) {
    peers_.refusal_ = Status(code, "not now");
    Rounds(2 * LinkWatch::kMissedMax);
    EXPECT_EQ(probes_.OutOfReach(), std::vector<NodeId>{});
  }
}

TEST_F(LinkProbesTest, AsksNobodyWhoIsDown) {
  peers_.silent_ = {TargetId(2)};
  Rounds(LinkWatch::kMissedMax + 1);
  probes_.Update(Map(/*down=*/2));
  peers_.asked_.clear();
  Rounds(1);
  EXPECT_EQ(peers_.asked_, std::vector<TargetId>{TargetId(3)});
  EXPECT_EQ(probes_.OutOfReach(), std::vector<NodeId>{}) << "the manager knows by itself";
}

TEST_F(LinkProbesTest, AnAnswerMayComeWhenItIsGone) {
  {
    LinkProbes probes(peers_, {"target1"}, clock_, nullptr);
    probes.Update(Map());
    peers_.silent_ = {TargetId(2), TargetId(3)};
    probes.Tick();
  }
  for (const transport::Done& done : peers_.waiting_) done(transport::Reply());
}

}  // namespace
}  // namespace sheaf::storage
