#include "meta/cluster/chunk_trimmer.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/address.h"
#include "proto/data.pb.h"

namespace sheaf::meta {
namespace {

struct Head {
  uint32_t chain_version = 0;
  std::string address;
  Status status;  // why the chain cannot be asked
};

// Where to send what concerns a chain, by one map.
class Routes {
 public:
  explicit Routes(std::shared_ptr<const proto::ClusterMap> map) : map_(std::move(map)) {
    for (const proto::Target& target : map_->targets()) nodes_of_[target.id()] = target.node_id();
    for (const proto::Node& node : map_->nodes()) nodes_[node.id()] = &node;
    for (const proto::Chain& chain : map_->chains()) heads_[chain.id()] = HeadOf(chain);
    for (const proto::ChainTable& table : map_->tables()) tables_[table.version()] = &table;
  }

  const proto::ChainTable* Table(uint32_t version) const {
    auto found = tables_.find(version);
    return found == tables_.end() ? nullptr : found->second;
  }
  const Head& HeadOfChain(uint32_t chain) const { return heads_.at(chain); }

 private:
  Head HeadOf(const proto::Chain& chain) const {
    Head head{.chain_version = chain.version()};
    if (chain.members().empty() || chain.members(0).state() != proto::SERVING) {
      head.status = {Code::kUnavailable,
                     "trim chunks: chain " + std::to_string(chain.id()) + " does not serve"};
      return head;
    }
    head.address = nodes_.at(nodes_of_.at(chain.members(0).target_id()))->addresses().framed();
    return head;
  }

  std::shared_ptr<const proto::ClusterMap> map_;
  std::unordered_map<uint32_t, uint32_t> nodes_of_;
  std::unordered_map<uint32_t, const proto::Node*> nodes_;
  std::unordered_map<uint32_t, Head> heads_;
  std::unordered_map<uint32_t, const proto::ChainTable*> tables_;
};

// One request of a job to one chain.
struct Step {
  size_t job = 0;
  uint32_t chain = 0;
  transport::Method method = transport::Method::kRemove;
  uint32_t chunk_index = 0;  // first to remove, or the one to shorten
  uint32_t keep = 0;         // of the one to shorten
};

Status PlanJob(const Routes& routes, const TrimJob& job, size_t index, std::vector<Step>* steps) {
  const proto::ChainTable* table = routes.Table(job.layout.table_version);
  if (table == nullptr || table->chain_ids().empty()) {
    return {Code::kCorrupt, "trim chunks of " + ToString(job.data_id) + ": chain table " +
                                std::to_string(job.layout.table_version) + " does not exist"};
  }
  const uint32_t chains = table->chain_ids_size();
  const uint32_t width =
      job.layout.stripe_width == 0 ? chains : std::min(job.layout.stripe_width, chains);
  const uint64_t first = ChunkCount(job.layout, job.keep_bytes);
  for (uint32_t i = 0; i < width; ++i) {
    const uint32_t chain = table->chain_ids(ChainPosition(job.layout, chains, i));
    steps->push_back({.job = index, .chain = chain, .chunk_index = static_cast<uint32_t>(first)});
  }
  const uint64_t keep = job.keep_bytes & (job.layout.chunk_size() - 1);
  if (keep == 0) return Status::Ok();
  const uint32_t boundary = table->chain_ids(ChainPosition(job.layout, chains, first - 1));
  steps->push_back({.job = index,
                    .chain = boundary,
                    .method = transport::Method::kTruncate,
                    .chunk_index = static_cast<uint32_t>(first - 1),
                    .keep = static_cast<uint32_t>(keep)});
  return Status::Ok();
}

std::string RequestFor(const Step& step, const TrimJob& job, uint32_t chain_version) {
  if (step.method == transport::Method::kTruncate) {
    proto::TruncateChunkRequest request;
    request.mutable_ctx()->set_chain_id(step.chain);
    request.mutable_ctx()->set_chain_version(chain_version);
    request.mutable_chunk()->set_data_id(job.data_id.value());
    request.mutable_chunk()->set_index(step.chunk_index);
    request.set_length(step.keep);
    request.set_chunk_size(static_cast<uint32_t>(job.layout.chunk_size()));
    return request.SerializeAsString();
  }
  proto::RemoveChunksRequest request;
  request.mutable_ctx()->set_chain_id(step.chain);
  request.mutable_ctx()->set_chain_version(chain_version);
  request.set_data_id(job.data_id.value());
  request.set_first_index(step.chunk_index);
  request.set_limit(FramedChunkTrimmer::kChunksPerCall);
  return request.SerializeAsString();
}

// True when the chain has more to remove.
Result<bool> MoreToRemove(const Step& step, const Result<transport::Reply>& reply) {
  if (!reply.ok()) return reply.status();
  if (step.method == transport::Method::kTruncate) return false;
  proto::RemoveChunksResponse response;
  if (!response.ParseFromString(reply->message)) {
    return Status(Code::kProtocol, "remove chunks: the answer does not parse");
  }
  return response.more();
}

// Answers of calls that are under way. Shared with their callbacks, which may come after Trim has
// given up only if a connection broke its promise to keep deadlines.
class Round {
 public:
  explicit Round(size_t calls) : answers_(calls, Status(Code::kCancelled, "no answer")) {}

  void Answer(size_t call, Result<bool> answer) {
    std::lock_guard lock(mutex_);
    answers_[call] = std::move(answer);
    ++done_;
    changed_.notify_all();
  }
  std::vector<Result<bool>> Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_ == answers_.size(); });
    return std::move(answers_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Result<bool>> answers_;
  size_t done_ = 0;
};

class Trimming {
 public:
  Trimming(transport::ConnectionPool& pool, const Routes& routes, std::span<const TrimJob> jobs,
           Clock::Instant deadline)
      : pool_(pool), routes_(routes), jobs_(jobs), deadline_(deadline), results_(jobs.size()) {}

  std::vector<Status> Run() {
    std::vector<Step> steps;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      results_[i] = PlanJob(routes_, jobs_[i], i, &steps);
    }
    // Rounds rather than calls started from callbacks: those must not block, starting one may.
    while (!steps.empty()) {
      const size_t count = std::min(steps.size(), FramedChunkTrimmer::kMaxCalls);
      std::vector<Step> left = RunRound(std::span(steps).first(count));
      left.insert(left.end(), steps.begin() + count, steps.end());
      steps = std::move(left);
    }
    return std::move(results_);
  }

 private:
  // Answers the steps that have more to do. Steps of a job that has failed are given up.
  std::vector<Step> RunRound(std::span<const Step> steps) {
    std::vector<Step> sent;
    for (const Step& step : steps) {
      if (results_[step.job].ok()) sent.push_back(step);
    }
    auto round = std::make_shared<Round>(sent.size());
    for (size_t i = 0; i < sent.size(); ++i) Send(sent[i], i, round);
    const std::vector<Result<bool>> answers = round->Wait();
    std::vector<Step> more;
    for (size_t i = 0; i < sent.size(); ++i) {
      if (!answers[i].ok()) {
        results_[sent[i].job] = answers[i].status();
      } else if (*answers[i]) {
        more.push_back(sent[i]);
      }
    }
    return more;
  }

  void Send(const Step& step, size_t slot, const std::shared_ptr<Round>& round) {
    const Head& head = routes_.HeadOfChain(step.chain);
    if (!head.status.ok()) return round->Answer(slot, head.status);
    Result<Address> address = Address::Parse(head.address);
    if (!address.ok()) return round->Answer(slot, address.status());
    auto connection = pool_.Get(*address);
    if (!connection.ok()) return round->Answer(slot, connection.status());
    transport::Call call{.method = step.method,
                         .message = RequestFor(step, jobs_[step.job], head.chain_version),
                         .deadline = deadline_};
    (*connection)->Start(std::move(call), [round, slot, step](Result<transport::Reply> reply) {
      round->Answer(slot, MoreToRemove(step, reply));
    });
  }

  transport::ConnectionPool& pool_;
  const Routes& routes_;
  const std::span<const TrimJob> jobs_;
  const Clock::Instant deadline_;
  std::vector<Status> results_;
};

}  // namespace

std::vector<Status> FramedChunkTrimmer::Trim(std::span<const TrimJob> jobs,
                                             Clock::Instant deadline) {
  const Routes routes(map_());
  return Trimming(pool_, routes, jobs, deadline).Run();
}

}  // namespace sheaf::meta
