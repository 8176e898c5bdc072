#include "tests/sim/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/random.h"

namespace sheaf::sim {
namespace {

constexpr int32_t kMaxDrift = 40'000;  // ppm: two clocks run apart by less than a tenth

// What runs are about: anything; members that leave, come back and have trouble on the way; who may
// still act; members that are moved while their servers know little of it.
constexpr uint32_t kThemes = 4;
enum Theme : uint32_t { kAny, kReturns, kLeases, kMoves };

struct Weighted {
  Fault::Kind kind;
  uint32_t weights[kThemes];
  Time shortest;
  Time longest;
};
constexpr Weighted kMenu[] = {
    {Fault::Kind::kKill, {20, 20, 6, 6}, 20 * kMillisecond, 1500 * kMillisecond},
    {Fault::Kind::kFreeze, {12, 6, 20, 8}, 100 * kMillisecond, 2 * kSecond},
    {Fault::Kind::kCut, {12, 6, 20, 25}, 100 * kMillisecond, 1500 * kMillisecond},
    {Fault::Kind::kSplit, {6, 4, 10, 5}, 100 * kMillisecond, 1500 * kMillisecond},
    {Fault::Kind::kWeather, {10, 15, 10, 8}, 300 * kMillisecond, 2 * kSecond},
    {Fault::Kind::kFullDisk, {6, 10, 0, 2}, 50 * kMillisecond, 600 * kMillisecond},
    {Fault::Kind::kBrokenDisk, {3, 3, 0, 1}, 300 * kMillisecond, 1500 * kMillisecond},
    {Fault::Kind::kLostDisk, {3, 12, 0, 3}, kSecond, 2500 * kMillisecond},
    {Fault::Kind::kDrain, {6, 10, 4, 35}, 50 * kMillisecond, 2 * kSecond},
    {Fault::Kind::kReplace, {4, 8, 2, 10}, 0, 0},
    {Fault::Kind::kRot, {4, 6, 0, 2}, 100 * kMillisecond, kSecond},
    {Fault::Kind::kFlakyDisk, {5, 20, 0, 3}, 100 * kMillisecond, 2 * kSecond},
    {Fault::Kind::kSlowDisk, {8, 10, 5, 4}, 200 * kMillisecond, 2 * kSecond},
    {Fault::Kind::kSlowNode, {5, 6, 8, 20}, 200 * kMillisecond, 2 * kSecond},
    {Fault::Kind::kManagerDown, {4, 2, 6, 5}, 50 * kMillisecond, kSecond},
    {Fault::Kind::kFreezeManager, {3, 0, 10, 2}, 50 * kMillisecond, kSecond},
    {Fault::Kind::kClockJump, {2, 0, 8, 2}, 50 * kMillisecond, kSecond},
    {Fault::Kind::kEndSession, {8, 4, 20, 4}, 0, 0},
    {Fault::Kind::kFreezeClient, {4, 2, 20, 4}, 100 * kMillisecond, 2 * kSecond},
};

const Weighted& Draw(Random& random, Theme theme) {
  uint32_t all = 0;
  for (const Weighted& item : kMenu) all += item.weights[theme];
  uint32_t left = static_cast<uint32_t>(random.Below(all));
  for (const Weighted& item : kMenu) {
    if (left < item.weights[theme]) return item;
    left -= item.weights[theme];
  }
  return kMenu[0];
}

Network::Weather Storm(Random& random) {
  Network::Weather weather;
  weather.loss_percent = static_cast<uint32_t>(random.Below(25));
  weather.double_percent = static_cast<uint32_t>(random.Below(25));
  weather.late_percent = static_cast<uint32_t>(random.Below(40));
  weather.late = random.Between(kMillisecond, random.Percent(30) ? kSecond : 60 * kMillisecond);
  weather.delay = random.Between(100, 10 * kMillisecond);
  return weather;
}

std::vector<uint32_t> DrawMembers(Random& random, uint32_t nodes, uint32_t replicas) {
  std::vector<uint32_t> members;
  while (members.size() < replicas) {
    const uint32_t node = 1 + static_cast<uint32_t>(random.Below(nodes));
    if (std::find(members.begin(), members.end(), node) == members.end()) members.push_back(node);
  }
  return members;
}

}  // namespace

Schedule Schedule::FromSeed(uint64_t seed) {
  Random random(seed * 0x5851f42d4c957f2dull + 1);
  Schedule schedule;
  schedule.seed = seed;
  schedule.nodes = static_cast<uint32_t>(random.Between(3, random.Percent(30) ? 7 : 4));
  schedule.clients = static_cast<uint32_t>(random.Between(2, 4));
  schedule.streams = static_cast<uint32_t>(random.Between(1, 2));
  const uint64_t dice = random.Below(100);
  const Theme theme = dice < 50 ? kAny : dice < 70 ? kReturns : dice < 85 ? kLeases : kMoves;
  schedule.chunks = static_cast<uint32_t>(random.Between(1, theme == kReturns ? 6 : 4));
  const uint64_t chains = random.Percent(25) ? 2 : 1;
  for (uint64_t i = 0; i < chains; ++i) {
    const uint32_t most = std::min<uint32_t>(schedule.nodes, random.Percent(20) ? 4 : 3);
    const uint32_t replicas =
        static_cast<uint32_t>(random.Between(random.Percent(5) ? 1 : 2, most));
    schedule.chains.push_back(DrawMembers(random, schedule.nodes, replicas));
  }
  schedule.faulty = random.Between(kSecond, random.Percent(25) ? 5 * kSecond : 2500 * kMillisecond);
  schedule.think = random.Between(2, 60) * kMillisecond;
  schedule.zombie_percent = static_cast<uint32_t>(random.Below(100));
  for (uint32_t i = 0; i <= schedule.nodes; ++i)
    schedule.drift_ppm.push_back(
        random.Percent(50) ? 0 : static_cast<int32_t>(random.Between(-kMaxDrift, kMaxDrift)));

  const uint64_t faults = random.Percent(5) ? 0 : random.Between(1, 12);
  const uint32_t victim = schedule.chains[0][random.Below(schedule.chains[0].size())];
  // Those of one run are often of few kinds and close together.
  const bool alike = random.Percent(25);
  const Weighted favourite = Draw(random, theme);
  for (uint64_t i = 0; i < faults; ++i) {
    const Weighted item = alike && random.Percent(70) ? favourite : Draw(random, theme);
    Fault fault;
    fault.kind = item.kind;
    fault.at = random.Between(100 * kMillisecond, schedule.faulty);
    fault.lasts = random.Between(item.shortest, item.longest);
    fault.node = static_cast<uint32_t>(random.Below(schedule.nodes + 1));
    fault.other = static_cast<uint32_t>(random.Below(64));
    if (fault.kind != Fault::Kind::kCut && fault.node == 0) fault.node = 1;
    // Rather where it hurts.
    if (fault.node != 0 && random.Percent(70)) {
      const auto& members = schedule.chains[random.Below(schedule.chains.size())];
      fault.node = members[random.Below(members.size())];
    }
    if (fault.node != 0 && theme == kReturns && random.Percent(50)) fault.node = victim;
    // Moves of one member, of which it is not told.
    if (theme == kMoves && random.Percent(60)) {
      fault.node = fault.kind == Fault::Kind::kCut ? 0 : victim;
      if (fault.kind == Fault::Kind::kCut) fault.other = victim;
    }
    fault.weather = Storm(random);
    schedule.faults.push_back(fault);
  }
  if (theme == kReturns && random.Percent(40)) {
    Fault storm;
    storm.kind = Fault::Kind::kWeather;
    storm.at = random.Between(0, kSecond);
    storm.lasts = schedule.faulty;
    storm.weather = Storm(random);
    schedule.faults.push_back(storm);
  }
  std::stable_sort(schedule.faults.begin(), schedule.faults.end(),
                   [](const Fault& a, const Fault& b) { return a.at < b.at; });
  return schedule;
}

std::string Fault::ToString() const {
  static constexpr const char* kNames[] = {
      "kill",         "freeze",         "cut",        "split",       "weather",      "full disk",
      "broken disk",  "lost disk",      "drain",      "replace",     "rot",          "flaky disk",
      "slow disk",    "slow node",      "manager down", "freeze manager", "clock jump", "end session",
      "freeze client"};
  return fmt::format("{:.3f} ms: {} node {} other {} for {:.3f} ms", at / 1000.0,
                     kNames[static_cast<int>(kind)], node, other, lasts / 1000.0);
}

std::string Schedule::ToString() const {
  std::string text = fmt::format("seed {}: {} nodes, {} clients with {} streams, {} chunks\n", seed,
                                 nodes, clients, streams, chunks);
  for (size_t i = 0; i < chains.size(); ++i)
    text += fmt::format("  chain {}: nodes {}\n", i + 1, fmt::join(chains[i], ", "));
  for (const Fault& fault : faults) text += "  " + fault.ToString() + "\n";
  return text;
}

}  // namespace sheaf::sim
