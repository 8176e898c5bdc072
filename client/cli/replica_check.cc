#include "client/cli/replica_check.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace sheaf::cli {
namespace {

constexpr int kChainTries = 4;  // of a chain that changes while it is looked at

// The id just before, for a list that begins after it.
std::optional<ChunkId> Before(const ChunkId& chunk) {
  if (chunk.index > 0) return ChunkId{chunk.data_id, chunk.index - 1};
  if (!chunk.data_id.IsSet()) return std::nullopt;
  return ChunkId{DataId(chunk.data_id.value() - 1), UINT32_MAX};
}

ChunkId IdOf(const proto::ChunkInfo& chunk) {
  return {DataId(chunk.chunk().data_id()), chunk.chunk().index()};
}

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "%08x", value);
  return text;
}

}  // namespace

ReplicaCheck::Facts ReplicaCheck::FactsOf(const proto::ChunkInfo& chunk) {
  return {.version = chunk.version(),
          .chain_version = chunk.chain_version(),
          .length = chunk.length(),
          .checksum = chunk.checksum()};
}

bool ReplicaCheck::Differ(const Look& look) {
  return std::any_of(look.begin(), look.end(), [&](const Facts& f) { return f != look.front(); });
}

bool ReplicaCheck::OtherBytes(const Look& look) {
  for (const Facts& a : look) {
    for (const Facts& b : look) {
      if (a.version == b.version && (a.length != b.length || a.checksum != b.checksum)) return true;
    }
  }
  return false;
}

std::optional<size_t> ReplicaCheck::OddOne(const Look& look) {
  if (look.size() < 3) return std::nullopt;
  for (size_t odd = 0; odd < look.size(); ++odd) {
    const Facts& common = look[odd == 0 ? 1 : 0];
    const auto agree = std::count(look.begin(), look.end(), common);
    if (look[odd] != common && static_cast<size_t>(agree) == look.size() - 1) return odd;
  }
  return std::nullopt;
}

Status ReplicaCheck::Run() {
  ASSIGN_OR_RETURN(const proto::ClusterMap map, source_.Map());
  for (const proto::Chain& chain : map.chains()) {
    Status status;
    for (int attempt = 0; attempt < kChainTries; ++attempt) {
      if (attempt > 0) pause_();
      const auto members = MembersOf(chain.id());
      status = members.status();
      if (status.ok()) status = CheckChain(*members);
      if (status.ok() || status.retry() == Retry::kNever) break;
    }
    if (status.ok()) continue;
    // The others are looked at all the same.
    proto::Finding finding;
    finding.set_kind(proto::FINDING_UNSPECIFIED);
    finding.set_chain(chain.id());
    finding.set_text("chain " + std::to_string(chain.id()) +
                     ": its replicas could not be compared: " + status.message());
    RETURN_IF_ERROR(tell_(finding));
  }
  return Status::Ok();
}

Result<ReplicaCheck::Members> ReplicaCheck::MembersOf(uint32_t id) {
  ASSIGN_OR_RETURN(const proto::ClusterMap map, source_.Map());
  Members members{.chain = id};
  for (const proto::Chain& chain : map.chains()) {
    if (chain.id() != id) continue;
    for (const proto::ChainMember& member : chain.members()) {
      if (member.state() == proto::SERVING && !member.leaving())
        members.targets.push_back(member.target_id());
    }
  }
  return members;
}

Status ReplicaCheck::CheckChain(const Members& members) {
  suspects_.clear();
  if (members.targets.size() < 2) return Status::Ok();
  std::vector<Listed> lists(members.targets.size());
  const auto is_over = [](const Listed& listed) { return listed.end && listed.chunks.empty(); };
  while (!std::all_of(lists.begin(), lists.end(), is_over)) {
    for (size_t i = 0; i < lists.size(); ++i) RETURN_IF_ERROR(Fill(members, i, lists[i]));
    Compare(lists);
  }
  for (int look = 1; look < kLooks && !suspects_.empty(); ++look) {
    pause_();
    RETURN_IF_ERROR(LookAgain(members));
  }
  return TellSuspects(members);
}

Status ReplicaCheck::Fill(const Members& members, size_t member, Listed& listed) {
  if (listed.end || !listed.chunks.empty()) return Status::Ok();
  ASSIGN_OR_RETURN(const proto::ListChunksResponse page,
                   source_.ListReplica(members.chain, members.targets[member], listed.after,
                                       std::nullopt, page_));
  for (const proto::ChunkInfo& chunk : page.chunks()) {
    listed.chunks.emplace(IdOf(chunk), FactsOf(chunk));
    listed.after = IdOf(chunk);
  }
  listed.end = page.end() || page.chunks().empty();
  return Status::Ok();
}

// Through the least of the last chunks listed: beyond it a list may not have come yet.
void ReplicaCheck::Compare(std::vector<Listed>& lists) {
  std::optional<ChunkId> last;
  for (const Listed& listed : lists) {
    if (!listed.end && (!last || *listed.after < *last)) last = listed.after;
  }
  std::map<ChunkId, Look> looks;
  for (size_t i = 0; i < lists.size(); ++i) {
    auto& chunks = lists[i].chunks;
    const auto end = last ? chunks.upper_bound(*last) : chunks.end();
    for (auto chunk = chunks.begin(); chunk != end; ++chunk) {
      looks.try_emplace(chunk->first, lists.size()).first->second[i] = chunk->second;
    }
    chunks.erase(chunks.begin(), end);
  }
  for (auto& [id, look] : looks) {
    if (!Differ(look) || suspects_.size() == kMaxSuspects) continue;
    suspects_[id] = {.first = look, .last = look, .other_bytes = OtherBytes(look)};
  }
}

Status ReplicaCheck::LookAgain(const Members& members) {
  for (auto at = suspects_.begin(); at != suspects_.end();) {
    Look look;
    for (uint32_t target : members.targets) {
      ASSIGN_OR_RETURN(const proto::ListChunksResponse page,
                       source_.ListReplica(members.chain, target, Before(at->first),
                                           at->first.data_id.value(), 1));
      const bool has = !page.chunks().empty() && IdOf(page.chunks(0)) == at->first;
      look.push_back(has ? FactsOf(page.chunks(0)) : Facts());
    }
    Suspect& suspect = at->second;
    suspect.unchanged = suspect.unchanged && look == suspect.first;
    suspect.other_bytes = suspect.other_bytes && OtherBytes(look);
    suspect.last = look;
    const bool differs = Differ(look) && (suspect.unchanged || suspect.other_bytes);
    at = differs ? std::next(at) : suspects_.erase(at);
  }
  return Status::Ok();
}

// Which of them is right is not for a vote: it is told who is alone, and an operator decides.
Status ReplicaCheck::TellSuspects(const Members& members) {
  for (const auto& [id, suspect] : suspects_) {
    std::string text = "chunk " + ToString(id) + " on chain " + std::to_string(members.chain) +
                       ": replicas differ";
    for (size_t i = 0; i < members.targets.size(); ++i) {
      const Facts& facts = suspect.last[i];
      text += (i == 0 ? " (target " : ", target ") + std::to_string(members.targets[i]);
      if (facts.version == 0) {
        text += " has none";
        continue;
      }
      text += ": version " + std::to_string(facts.version) + " of " +
              std::to_string(facts.chain_version) + ", " + std::to_string(facts.length) +
              " bytes, checksum " + Hex(facts.checksum);
    }
    text += ")";
    if (const auto odd = OddOne(suspect.last))
      text += ": target " + std::to_string(members.targets[*odd]) + " alone, the others agree";
    proto::Finding finding;
    finding.set_kind(proto::REPLICAS_DIFFER);
    finding.set_data_id(id.data_id.value());
    finding.set_chain(members.chain);
    finding.set_chunk_index(id.index);
    finding.set_text(text);
    RETURN_IF_ERROR(tell_(finding));
  }
  return Status::Ok();
}

}  // namespace sheaf::cli
