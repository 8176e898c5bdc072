#include "tests/sim/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <unordered_set>
#include <utility>

namespace sheaf::sim {
namespace {

constexpr uint64_t kMaxSteps = 100'000;

using Mask = std::vector<uint64_t>;

// Depth-first over the orders in which the operations of one chunk may have happened. Reads that
// fit are taken at once, unless something that may have happened would thereby be ruled out.
class Search {
 public:
  explicit Search(std::vector<const Operation*> operations) : operations_(std::move(operations)) {
    std::stable_sort(operations_.begin(), operations_.end(),
                     [](const Operation* a, const Operation* b) { return a->begin < b->begin; });
    taken_.assign((operations_.size() + 63) / 64, 0);
    for (const Operation* operation : operations_) {
      left_ += Must(*operation) ? 1 : 0;
      CountTags(*operation, 1);
    }
  }

  enum class Answer { kYes, kNo, kTooLong };
  Answer Run() {
    if (Explore(Content{}, 0)) return Answer::kYes;
    return steps_ > kMaxSteps ? Answer::kTooLong : Answer::kNo;
  }
  // How far the best order came.
  std::string Tell() const {
    std::string text = "  after:\n";
    const size_t from = best_.size() - std::min<size_t>(best_.size(), 12);
    for (size_t i = from; i < best_.size(); ++i) text += "  " + best_[i]->ToString() + "\n";
    text += "  the chunk is " + best_content_.ToString() + ", which is at odds with:\n";
    for (const Operation* operation : operations_) {
      const bool taken = std::find(best_.begin(), best_.end(), operation) != best_.end();
      const Time until = best_.empty() ? 0 : best_.back()->begin + 300 * kMillisecond;
      if (!taken && operation->begin < until) text += "  " + operation->ToString() + "\n";
    }
    return text;
  }

 private:
  static bool Must(const Operation& operation) {
    return operation.outcome == Operation::Outcome::kDone;
  }
  bool IsTaken(size_t i) const { return (taken_[i / 64] >> (i % 64) & 1) != 0; }
  size_t FirstLeft() const {
    size_t word = 0;
    while (word < taken_.size() && ~taken_[word] == 0) ++word;
    return word == taken_.size() ? operations_.size()
                                 : word * 64 + static_cast<size_t>(std::countr_one(taken_[word]));
  }
  void Flip(size_t i) { taken_[i / 64] ^= uint64_t{1} << (i % 64); }

  uint64_t Fingerprint(const Content& content) const {
    uint64_t hash = content.Hash();
    for (uint64_t word : taken_) hash = MixBits(hash ^ word) * 0x9e3779b97f4a7c15ull;
    return hash;
  }

  // Of the reads that are not taken yet.
  void CountTags(const Operation& operation, int by) {
    if (operation.kind != Operation::Kind::kRead) return;
    for (uint16_t tag : operation.seen.cells) {
      if (tag >= awaited_.size()) awaited_.resize(tag + 1);
      awaited_[tag] += by;
    }
  }
  // What is overwritten never comes back, since each write has a tag of its own.
  bool LosesAwaited(const Content& before, const Content& after) const {
    for (uint16_t tag : before.cells) {
      const bool kept = std::find(after.cells.begin(), after.cells.end(), tag) != after.cells.end();
      if (tag != 0 && !kept && tag < awaited_.size() && awaited_[tag] > 0) return true;
    }
    return false;
  }

  static Content After(const Operation& operation, Content content) {
    switch (operation.kind) {
      case Operation::Kind::kWrite:
        content.Write(operation.offset, operation.length, operation.tag);
        break;
      case Operation::Kind::kTruncate:
        content.Truncate(operation.length, operation.extend);
        break;
      case Operation::Kind::kRemove:
        content.Remove();
        break;
      case Operation::Kind::kRead:
        break;
    }
    return content;
  }

  // `at`: the latest begin of what is taken.
  bool Explore(const Content& content, Time at) {
    if (left_ == 0) return true;
    if (++steps_ > kMaxSteps || !seen_.insert(Fingerprint(content)).second) return false;
    const size_t first = FirstLeft();
    Time first_end = kForever;
    Time first_doubtful_end = kForever;
    for (size_t i = first; i < operations_.size() && operations_[i]->begin <= first_end; ++i) {
      const Operation& operation = *operations_[i];
      if (IsTaken(i)) continue;
      if (Must(operation))
        first_end = std::min(first_end, operation.end);
      else if (operation.end >= at)
        first_doubtful_end = std::min(first_doubtful_end, operation.end);
    }
    for (size_t i = first; i < operations_.size() && operations_[i]->begin <= first_end; ++i) {
      const Operation& operation = *operations_[i];
      if (IsTaken(i) || operation.kind != Operation::Kind::kRead) continue;
      if (operation.seen != content || operation.begin > first_doubtful_end) continue;
      return Take(i, content, at);
    }
    for (size_t i = first; i < operations_.size() && operations_[i]->begin <= first_end; ++i) {
      const Operation& operation = *operations_[i];
      if (IsTaken(i) || operation.end < at) continue;
      if (operation.kind == Operation::Kind::kRead && operation.seen != content) continue;
      if (Take(i, content, at)) return true;
    }
    return false;
  }

  bool Take(size_t i, const Content& content, Time at) {
    const Operation& operation = *operations_[i];
    const Content after = After(operation, content);
    if (LosesAwaited(content, after)) return false;
    Flip(i);
    CountTags(operation, -1);
    left_ -= Must(operation) ? 1 : 0;
    order_.push_back(&operation);
    if (order_.size() > best_.size()) {
      best_ = order_;
      best_content_ = after;
    }
    const bool found = Explore(after, std::max(at, operation.begin));
    order_.pop_back();
    left_ += Must(operation) ? 1 : 0;
    CountTags(operation, 1);
    Flip(i);
    return found;
  }

  std::vector<const Operation*> operations_;
  Mask taken_;
  size_t left_ = 0;           // that must be taken
  std::vector<int> awaited_;  // by tag: reads of it that are not taken
  std::vector<const Operation*> order_;
  std::vector<const Operation*> best_;
  Content best_content_;
  uint64_t steps_ = 0;
  std::unordered_set<uint64_t> seen_;
};

bool WasSeen(const std::vector<const Operation*>& operations, uint16_t tag) {
  return std::any_of(operations.begin(), operations.end(), [&](const Operation* operation) {
    const auto& cells = operation->seen.cells;
    return operation->kind == Operation::Kind::kRead &&
           std::find(cells.begin(), cells.end(), tag) != cells.end();
  });
}

// The doubtful ones that nobody saw are left out at first: most never happened, and each doubles
// the work.
Search::Answer Explain(const std::vector<const Operation*>& operations, std::string* failure) {
  std::vector<const Operation*> likely;
  for (const Operation* operation : operations) {
    const bool doubtful = operation->outcome == Operation::Outcome::kUnknown;
    const bool seen =
        operation->kind == Operation::Kind::kWrite && WasSeen(operations, operation->tag);
    if (!doubtful || seen) likely.push_back(operation);
  }
  if (likely.size() != operations.size() && Search(likely).Run() == Search::Answer::kYes)
    return Search::Answer::kYes;
  Search search(operations);
  const Search::Answer answer = search.Run();
  if (answer == Search::Answer::kNo) *failure = search.Tell();
  return answer;
}

}  // namespace

std::string Operation::ToString() const {
  static constexpr const char* kOutcomes[] = {"?", "ok", "refused"};
  std::string what;
  switch (kind) {
    case Kind::kRead:
      what = "read " + seen.ToString();
      break;
    case Kind::kWrite:
      what = fmt::format("write {}+{} tag {}", offset, length, tag);
      break;
    case Kind::kTruncate:
      what = fmt::format("truncate {}{}", length, extend ? " extending" : "");
      break;
    case Kind::kRemove:
      what = "remove";
      break;
  }
  const std::string until = end == kForever ? "..." : fmt::format("{:.3f}", end / 1000.0);
  return fmt::format("{:10.3f} to {:>10} ms  client {} session {}.{}.{}  chunk {}.{}  {}: {}",
                     begin / 1000.0, until, client, name.incarnation.value(), name.stream,
                     name.sequence, chain, chunk, what, kOutcomes[static_cast<int>(outcome)]);
}

size_t History::Add(Operation operation) {
  const size_t index = operations_.size();
  if (operation.kind != Operation::Kind::kRead) {
    Stream& stream = streams_[{operation.chain, operation.name.incarnation, operation.name.stream}];
    if (operation.name.sequence < stream.done)
      operation.end = std::min(operation.end, stream.when);
    else
      stream.open.push_back(index);
  }
  operations_.push_back(operation);
  return index;
}

void History::StreamWentOn(const storage::StreamTable::Name& name, uint32_t chain, Time now) {
  Stream& stream = streams_[{chain, name.incarnation, name.stream}];
  stream.done = name.sequence;
  stream.when = now;
  std::erase_if(stream.open, [&](size_t index) {
    Operation& operation = operations_[index];
    if (operation.name.sequence >= name.sequence) return false;
    operation.end = std::min(operation.end, now);
    return true;
  });
}

void History::Fenced(Incarnation session, Time now) {
  for (Operation& operation : operations_) {
    if (operation.kind == Operation::Kind::kRead) continue;
    if (operation.name.incarnation == session) operation.end = std::min(operation.end, now);
  }
}

History::Verdict History::Check() const {
  std::map<std::pair<uint32_t, uint32_t>, std::vector<const Operation*>> chunks;
  for (const Operation& operation : operations_) {
    const bool tells =
        operation.outcome == Operation::Outcome::kDone ||
        (operation.outcome == Operation::Outcome::kUnknown &&
         operation.kind != Operation::Kind::kRead && operation.end >= operation.begin);
    if (tells) chunks[{operation.chain, operation.chunk}].push_back(&operation);
  }
  Verdict verdict;
  for (const auto& [chunk, operations] : chunks) {
    std::string failure;
    const Search::Answer answer = Explain(operations, &failure);
    if (answer == Search::Answer::kTooLong) ++verdict.undecided;
    if (answer != Search::Answer::kNo) continue;
    verdict.failure =
        fmt::format("no order explains chunk {}.{}\n{}", chunk.first, chunk.second, failure);
    return verdict;
  }
  return verdict;
}

}  // namespace sheaf::sim
