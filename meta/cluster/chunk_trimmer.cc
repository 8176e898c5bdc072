#include "meta/cluster/chunk_trimmer.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "proto/data.pb.h"

namespace sheaf::meta {
namespace {

// A job's part on one chain: removals, page by page, then the chunk across the cut. One call at a
// time, all on one stream.
struct Part {
  size_t job = 0;
  uint32_t chain = 0;
  uint64_t first_chunk = 0;  // to remove; 2^32 when there can be none
  uint32_t keep = 0;         // of the chunk before it; 0: it is not here, or whole
  bool shortening = false;   // what remains is that
  std::optional<StreamPool::Lease> lease;
};

transport::Method MethodOf(const Part& part) {
  return part.shortening ? transport::Method::kTruncate : transport::Method::kRemove;
}

// Whether the part has more to do after this answer.
Result<bool> TakeAnswer(const Result<std::string>& answer, Part& part) {
  if (!answer.ok()) return answer.status();
  if (part.shortening) return false;
  proto::RemoveChunksResponse response;
  if (!response.ParseFromString(*answer)) {
    return Status(Code::kProtocol, "remove chunks: the answer does not parse");
  }
  if (response.more()) return true;
  part.shortening = part.keep > 0;
  return part.shortening;
}

}  // namespace

class FramedChunkTrimmer::Trimming {
 public:
  Trimming(FramedChunkTrimmer& trimmer, Incarnation identity, std::span<const TrimJob> jobs,
           Clock::Instant deadline)
      : trimmer_(trimmer),
        calls_(trimmer.pool_, trimmer.map_),
        identity_(identity),
        jobs_(jobs),
        deadline_(deadline),
        results_(jobs.size()) {}

  std::vector<Status> Run() {
    std::vector<Part> parts;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      results_[i] = PlanJob(i, &parts).With("trim chunks of " + ToString(jobs_[i].data_id));
    }
    // Rounds rather than calls started from callbacks: those must not block, starting one may.
    while (!parts.empty()) {
      const size_t count = std::min(parts.size(), ChainCalls::kMaxCalls);
      std::vector<Part> left = RunRound(std::span(parts).first(count));
      left.insert(left.end(), parts.begin() + static_cast<ptrdiff_t>(count), parts.end());
      parts = std::move(left);
    }
    return std::move(results_);
  }

 private:
  Status PlanJob(size_t index, std::vector<Part>* parts) const {
    const TrimJob& job = jobs_[index];
    ASSIGN_OR_RETURN(const std::vector<uint32_t> stripe, calls_.Stripe(job.layout));
    const uint64_t first = ChunkCount(job.layout, job.keep_bytes);
    const uint64_t keep = job.keep_bytes & (job.layout.chunk_size() - 1);
    const bool none_beyond = first > std::numeric_limits<uint32_t>::max();
    for (size_t i = 0; i < stripe.size(); ++i) {
      const bool across = keep > 0 && (first - 1) % stripe.size() == i;
      if (none_beyond && !across) continue;
      parts->push_back({.job = index,
                        .chain = stripe[i],
                        .first_chunk = first,
                        .keep = across ? static_cast<uint32_t>(keep) : 0,
                        .shortening = none_beyond});
    }
    return Status::Ok();
  }

  // Answers the parts that have more to do. Those of a job that has failed are given up.
  std::vector<Part> RunRound(std::span<Part> parts) {
    std::vector<Part> sent;
    std::vector<ChainCalls::Call> calls;
    for (Part& part : parts) {
      if (!results_[part.job].ok()) {
        Release(part);
        continue;
      }
      TakeLease(part);
      calls.push_back({part.chain, MethodOf(part), RequestFor(part)});
      sent.push_back(part);
    }
    const std::vector<Result<std::string>> answers = calls_.Run(std::move(calls), deadline_);
    std::vector<Part> more;
    for (size_t i = 0; i < sent.size(); ++i) {
      const Result<bool> goes_on = TakeAnswer(answers[i], sent[i]);
      if (!goes_on.ok()) {
        results_[sent[i].job] = goes_on.status();
        GiveUp(sent[i]);
      } else if (*goes_on) {
        more.push_back(sent[i]);
      } else {
        Release(sent[i]);
      }
    }
    return more;
  }

  void TakeLease(Part& part) {
    if (part.lease.has_value()) {
      trimmer_.streams_.Advance(*part.lease);
    } else {
      part.lease = trimmer_.TakeStream(jobs_[part.job].data_id, part.chain);
    }
  }
  void Release(const Part& part) {
    if (part.lease.has_value()) trimmer_.streams_.Release(*part.lease);
  }
  // What is left of a data_id that is dead may be removed late: nobody writes to it again.
  void GiveUp(const Part& part) {
    if (jobs_[part.job].keep_bytes == 0) return Release(part);
    trimmer_.KeepStream(jobs_[part.job].data_id, part.chain, *part.lease);
  }

  template <typename Request>
  Request To(const Part& part) const {
    Request request = calls_.To<Request>(part.chain);
    request.mutable_ctx()->set_incarnation(identity_.value());
    request.mutable_ctx()->set_stream(part.lease->stream);
    request.mutable_ctx()->set_sequence(part.lease->sequence);
    return request;
  }

  std::string RequestFor(const Part& part) const {
    const TrimJob& job = jobs_[part.job];
    if (part.shortening) {
      auto request = To<proto::TruncateChunkRequest>(part);
      request.mutable_chunk()->set_data_id(job.data_id.value());
      request.mutable_chunk()->set_index(static_cast<uint32_t>(part.first_chunk - 1));
      request.set_length(part.keep);
      request.set_chunk_size(static_cast<uint32_t>(job.layout.chunk_size()));
      return request.SerializeAsString();
    }
    auto request = To<proto::RemoveChunksRequest>(part);
    request.set_data_id(job.data_id.value());
    request.set_first_index(static_cast<uint32_t>(part.first_chunk));
    request.set_limit(kChunksPerCall);
    return request.SerializeAsString();
  }

  FramedChunkTrimmer& trimmer_;
  ChainCalls calls_;
  const Incarnation identity_;
  const std::span<const TrimJob> jobs_;
  const Clock::Instant deadline_;
  std::vector<Status> results_;
};

StreamPool::Lease FramedChunkTrimmer::TakeStream(DataId data_id, uint32_t chain) {
  auto unanswered = unanswered_.Lock();
  auto found = unanswered->find({data_id, chain});
  if (found == unanswered->end()) return streams_.Acquire();
  StreamPool::Lease lease = found->second;
  unanswered->erase(found);
  streams_.Advance(lease);
  return lease;
}

void FramedChunkTrimmer::KeepStream(DataId data_id, uint32_t chain,
                                    const StreamPool::Lease& lease) {
  unanswered_.Lock()->insert_or_assign({data_id, chain}, lease);
}

std::vector<Status> FramedChunkTrimmer::Trim(std::span<const TrimJob> jobs,
                                             Clock::Instant deadline) {
  const Result<Incarnation> identity = identity_();
  if (!identity.ok()) {
    return std::vector<Status>(jobs.size(), identity.status().With("trim chunks"));
  }
  return Trimming(*this, *identity, jobs, deadline).Run();
}

}  // namespace sheaf::meta
