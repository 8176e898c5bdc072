#include "meta/cluster/chain_calls.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "common/address.h"

namespace sheaf::meta {

// Answers of calls that are under way. Shared with their callbacks, which may come after Run has
// given up only if a connection broke its promise to keep deadlines.
class ChainCalls::Round {
 public:
  explicit Round(size_t calls)
      : answers_(calls, Status(Code::kCancelled, "no answer")), given_up_(calls) {}

  // No other call under way has it: this lives until the last of its calls has ended.
  uint64_t TagOf(size_t call) const { return reinterpret_cast<uintptr_t>(&answers_[call]); }

  void Answer(size_t call, Result<std::string> answer) {
    std::lock_guard lock(mutex_);
    if (given_up_[call] && answer.status().code() == Code::kCancelled) {
      answer = Status(Code::kWrongChain, "the chain has moved on");
    }
    answers_[call] = std::move(answer);
    ++done_;
    changed_.notify_all();
  }
  void GiveUp(size_t call) {
    std::lock_guard lock(mutex_);
    given_up_[call] = true;
  }
  // False: not all are done after this time.
  bool Wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [this] { return done_ == answers_.size(); });
  }
  // REQUIRES: all are done.
  std::vector<Result<std::string>> Take() {
    std::lock_guard lock(mutex_);
    return std::move(answers_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Result<std::string>> answers_;
  std::vector<bool> given_up_;
  size_t done_ = 0;
};

ChainCalls::ChainCalls(transport::ConnectionPool& pool, MapSource source)
    : pool_(pool), source_(std::move(source)), map_(source_()) {
  for (const proto::Target& target : map_->targets()) {
    node_of_target_[target.id()] = target.node_id();
  }
  for (const proto::Node& node : map_->nodes()) nodes_[node.id()] = &node;
  for (const proto::Chain& chain : map_->chains()) heads_[chain.id()] = HeadOf(chain);
  for (const proto::ChainTable& table : map_->tables()) tables_[table.version()] = &table;
}

// Members that serve come first, the head before all.
ChainCalls::Head ChainCalls::HeadOf(const proto::Chain& chain) const {
  Head head{.chain_version = chain.version()};
  if (chain.members().empty() || chain.members(0).state() != proto::SERVING) {
    head.status = {Code::kUnavailable, "chain " + std::to_string(chain.id()) + " does not serve"};
    return head;
  }
  head.address = nodes_.at(node_of_target_.at(chain.members(0).target_id()))->addresses().framed();
  return head;
}

uint32_t ChainCalls::VersionOf(uint32_t chain) const { return heads_.at(chain).chain_version; }

Result<std::vector<uint32_t>> ChainCalls::Stripe(const Layout& layout) const {
  auto found = tables_.find(layout.table_version);
  if (found == tables_.end() || found->second->chain_ids().empty()) {
    return Status(Code::kCorrupt,
                  "chain table " + std::to_string(layout.table_version) + " does not exist");
  }
  const proto::ChainTable& table = *found->second;
  const uint32_t chains = table.chain_ids_size();
  const uint32_t width = layout.stripe_width == 0 ? chains : std::min(layout.stripe_width, chains);
  std::vector<uint32_t> stripe;
  stripe.reserve(width);
  for (uint32_t i = 0; i < width; ++i) {
    stripe.push_back(table.chain_ids(ChainPosition(layout, chains, i)));
  }
  return stripe;
}

Result<ChainCalls::ConnectionRef> ChainCalls::ConnectionTo(uint32_t chain) {
  const Head& head = heads_.at(chain);
  if (!head.status.ok()) return head.status;
  ASSIGN_OR_RETURN(const Address address, Address::Parse(head.address));
  return pool_.Get(address);
}

std::vector<Result<std::string>> ChainCalls::Run(std::vector<Call> calls, Clock::Instant deadline) {
  DCHECK(calls.size() <= kMaxCalls);
  auto round = std::make_shared<Round>(calls.size());
  std::vector<ConnectionRef> connections(calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    auto connection = ConnectionTo(calls[i].chain);
    if (!connection.ok()) {
      round->Answer(i, connection.status());
      continue;
    }
    connections[i] = *connection;
    transport::Call call{.method = calls[i].method,
                         .message = std::move(calls[i].message),
                         .deadline = deadline,
                         .tag = round->TagOf(i)};
    (*connection)->Start(std::move(call), [round, i](Result<transport::Reply> reply) {
      if (!reply.ok()) return round->Answer(i, reply.status());
      round->Answer(i, std::move(reply->message));
    });
  }
  while (!round->Wait(kMapPoll)) GiveUpStale(calls, connections, *round);
  return round->Take();
}

// Those that have ended are not found, and keep their answers.
void ChainCalls::GiveUpStale(const std::vector<Call>& calls,
                             const std::vector<ConnectionRef>& connections, Round& round) const {
  const std::shared_ptr<const proto::ClusterMap> now = source_();
  if (now->version() == map_->version()) return;
  std::unordered_map<uint32_t, uint32_t> versions;
  for (const proto::Chain& chain : now->chains()) versions[chain.id()] = chain.version();
  for (size_t i = 0; i < calls.size(); ++i) {
    if (connections[i] == nullptr || versions[calls[i].chain] == VersionOf(calls[i].chain)) {
      continue;
    }
    round.GiveUp(i);
    connections[i]->Cancel(round.TagOf(i));
  }
}

}  // namespace sheaf::meta
