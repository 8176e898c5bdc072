#include "storage/replica/stream_table.h"

#include <string>

#include "common/layout.h"
#include "storage/replica/planted.h"

namespace sheaf::storage {
namespace {

std::string Describe(const StreamTable::Name& name) {
  return "mutation " + std::to_string(name.sequence) + " of stream " + std::to_string(name.stream) +
         " of session " + ToString(name.incarnation);
}

StreamTable::Judgement Answer(Result<MutationResult> answer) {
  return {StreamTable::Verdict::kAnswer, 0, std::move(answer)};
}

}  // namespace

size_t StreamTable::KeyHash::operator()(const Key& key) const {
  return MixBits(key.incarnation.value() ^ MixBits(key.stream));
}

StreamTable::Judgement StreamTable::Judge(const Name& name, uint64_t fingerprint) const {
  const Judgement is_new{Verdict::kNew, 0, MutationResult{}};
  if (!name.IsNamed() || Planted(Bug::kForgottenRetry)) return is_new;
  const auto found = streams_.find(KeyOf(name));
  if (found == streams_.end()) {
    if (streams_.size() < kMaxStreams) return is_new;
    return Answer(Status(Code::kBusy, Describe(name) + ": too many streams are remembered"));
  }
  const Stream& stream = found->second;
  if (name.sequence < stream.sequence) {
    ++late_;
    return Answer(Status(Code::kCancelled, Describe(name) + ": it comes late, the stream is at " +
                                               std::to_string(stream.sequence)));
  }
  if (name.sequence > stream.sequence) {
    if (stream.under_way == 0) return is_new;
    return Answer(Status(Code::kBusy, Describe(name) + ": mutation " +
                                          std::to_string(stream.sequence) +
                                          " of it is still under way"));
  }
  if (!stream.done && stream.under_way == 0) return is_new;
  if (stream.fingerprint != fingerprint) {
    return Answer(Status(Code::kInvalid,
                         Describe(name) + ": the sequence was used for another mutation"));
  }
  ++repeated_;
  if (stream.done) return Answer(stream.result);
  return {Verdict::kJoin, stream.under_way, MutationResult{}};
}

void StreamTable::Begin(const Name& name, uint64_t fingerprint, uint64_t under_way) {
  if (!name.IsNamed()) return;
  streams_[KeyOf(name)] = {name.sequence, fingerprint, under_way, false, {}};
}

StreamTable::Stream* StreamTable::Find(const Name& name, uint64_t under_way) {
  if (!name.IsNamed()) return nullptr;
  const auto found = streams_.find(KeyOf(name));
  if (found == streams_.end() || found->second.under_way != under_way) return nullptr;
  return &found->second;
}

void StreamTable::Commit(const Name& name, uint64_t under_way, const MutationResult& result) {
  Stream* stream = Find(name, under_way);
  if (stream == nullptr) return;
  stream->under_way = 0;
  stream->done = true;
  stream->result = result;
}

void StreamTable::Undo(const Name& name, uint64_t under_way) {
  Stream* stream = Find(name, under_way);
  if (stream != nullptr) stream->under_way = 0;
}

bool StreamTable::Learn(const Name& name, const Stream& stream) {
  if (!name.IsNamed()) return false;
  Stream& known = streams_[KeyOf(name)];
  if (known.sequence > name.sequence || known.under_way != 0) return false;
  if (known.sequence == name.sequence && known.done) return false;
  known = stream;
  known.sequence = name.sequence;
  known.under_way = 0;
  return true;
}

void StreamTable::DropUnderWay() {
  for (auto& [key, stream] : streams_) stream.under_way = 0;
}

std::vector<StreamTable::Name> StreamTable::Distrust() {
  std::vector<Name> names;
  names.reserve(streams_.size());
  for (auto& [key, stream] : streams_) {
    stream.done = false;
    names.push_back({key.incarnation, key.stream, stream.sequence});
  }
  return names;
}

void StreamTable::Forget(const Predicate& over) {
  std::erase_if(streams_, [&](const auto& entry) {
    return entry.second.under_way == 0 && over(entry.first.incarnation);
  });
}

void StreamTable::ForEach(const Visit& visit) const {
  if (Planted(Bug::kResyncWithoutStreams)) return;  // what a resync sends
  for (const auto& [key, stream] : streams_)
    visit({key.incarnation, key.stream, stream.sequence}, stream);
}

}  // namespace sheaf::storage
