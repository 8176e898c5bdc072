#include "meta/cluster/length_prober.h"

#include <algorithm>
#include <optional>
#include <string>

#include "proto/data.pb.h"

namespace sheaf::meta {
namespace {

// A job's part on one chain, a page of chunks at a time.
struct Part {
  size_t job = 0;
  uint32_t chain = 0;
  std::optional<uint32_t> after;  // last chunk seen, or the last that does not matter
};

std::string RequestFor(const ChainCalls& calls, const Part& part, const ProbeJob& job) {
  auto request = calls.To<proto::ListChunksRequest>(part.chain);
  request.set_data_id(job.data_id.value());
  request.set_limit(FramedLengthProber::kChunksPerCall);
  if (part.after.has_value()) {
    request.mutable_after()->set_data_id(job.data_id.value());
    request.mutable_after()->set_index(*part.after);
  }
  return request.SerializeAsString();
}

// Raises `*reach`; answers whether the chain has more to list.
Result<bool> TakePage(const Result<std::string>& answer, const ProbeJob& job, Part* part,
                      uint64_t* reach) {
  if (!answer.ok()) return answer.status();
  proto::ListChunksResponse page;
  if (!page.ParseFromString(*answer)) {
    return Status(Code::kProtocol, "list chunks: the answer does not parse");
  }
  for (const proto::ChunkInfo& chunk : page.chunks()) {
    const uint32_t index = chunk.chunk().index();
    const bool rises = !part->after.has_value() || index > *part->after;
    if (chunk.chunk().data_id() != job.data_id.value() || !rises) {
      return Status(Code::kProtocol, "list chunks: the answer has chunks that were not asked for");
    }
    part->after = index;
    const uint64_t end = (uint64_t{index} << job.layout.chunk_size_log2) + chunk.length();
    if (chunk.length() > 0) *reach = std::max(*reach, end);
  }
  return !page.end() && !page.chunks().empty();
}

class Probing {
 public:
  Probing(transport::ConnectionPool& pool, const MapSource& map, std::span<const ProbeJob> jobs,
          Clock::Instant deadline)
      : calls_(pool, map),
        jobs_(jobs),
        deadline_(deadline),
        reach_(jobs.size(), 0),
        failures_(jobs.size()) {}

  std::vector<Result<uint64_t>> Run() {
    std::vector<Part> parts;
    for (size_t i = 0; i < jobs_.size(); ++i) failures_[i] = PlanJob(i, &parts);
    while (!parts.empty()) {
      const size_t count = std::min(parts.size(), ChainCalls::kMaxCalls);
      std::vector<Part> left = RunRound(std::span(parts).first(count));
      left.insert(left.end(), parts.begin() + static_cast<ptrdiff_t>(count), parts.end());
      parts = std::move(left);
    }
    std::vector<Result<uint64_t>> results;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      if (failures_[i].ok()) {
        results.emplace_back(reach_[i]);
      } else {
        results.emplace_back(failures_[i].With("find the end of " + ToString(jobs_[i].data_id)));
      }
    }
    return results;
  }

 private:
  Status PlanJob(size_t index, std::vector<Part>* parts) const {
    const ProbeJob& job = jobs_[index];
    ASSIGN_OR_RETURN(const std::vector<uint32_t> stripe, calls_.Stripe(job.layout));
    // The chunk that `from_bytes` lies in may reach beyond it.
    const uint64_t first = job.from_bytes >> job.layout.chunk_size_log2;
    for (uint32_t chain : stripe) {
      Part part{.job = index, .chain = chain};
      if (first > 0) part.after = static_cast<uint32_t>(first - 1);
      parts->push_back(part);
    }
    return Status::Ok();
  }

  // Answers the parts that have more pages. Those of a job that has failed are given up.
  std::vector<Part> RunRound(std::span<const Part> parts) {
    std::vector<Part> sent;
    std::vector<ChainCalls::Call> calls;
    for (const Part& part : parts) {
      if (!failures_[part.job].ok()) continue;
      sent.push_back(part);
      calls.push_back(
          {part.chain, transport::Method::kList, RequestFor(calls_, part, jobs_[part.job])});
    }
    const std::vector<Result<std::string>> answers = calls_.Run(std::move(calls), deadline_);
    std::vector<Part> more;
    for (size_t i = 0; i < sent.size(); ++i) {
      const size_t job = sent[i].job;
      const Result<bool> goes_on = TakePage(answers[i], jobs_[job], &sent[i], &reach_[job]);
      if (!goes_on.ok()) {
        failures_[job] = goes_on.status();
      } else if (*goes_on) {
        more.push_back(sent[i]);
      }
    }
    return more;
  }

  ChainCalls calls_;
  const std::span<const ProbeJob> jobs_;
  const Clock::Instant deadline_;
  std::vector<uint64_t> reach_;
  std::vector<Status> failures_;
};

}  // namespace

std::vector<Result<uint64_t>> FramedLengthProber::Reach(std::span<const ProbeJob> jobs,
                                                        Clock::Instant deadline) {
  return Probing(pool_, map_, jobs, deadline).Run();
}

}  // namespace sheaf::meta
