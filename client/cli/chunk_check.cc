#include "client/cli/chunk_check.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sheaf::cli {
namespace {

constexpr uint32_t kPage = 4096;  // chunks of one answer

std::string ChunkText(uint32_t chain, const ChunkId& chunk) {
  return "chunk " + ToString(chunk) + " on chain " + std::to_string(chain);
}

ChunkId IdOf(const proto::ChunkInfo& chunk) {
  return {DataId(chunk.chunk().data_id()), chunk.chunk().index()};
}

// The id just before, for a list that begins after it.
std::optional<ChunkId> Before(const ChunkId& chunk) {
  if (chunk.index > 0) return ChunkId{chunk.data_id, chunk.index - 1};
  if (!chunk.data_id.IsSet()) return std::nullopt;
  return ChunkId{DataId(chunk.data_id.value() - 1), UINT32_MAX};
}

bool LiesBeyond(const Layout& layout, uint64_t size, const ChunkId& chunk, uint32_t length) {
  const uint64_t begin = uint64_t{chunk.index} << layout.chunk_size_log2;
  return begin + length > size;
}

}  // namespace

Status ChunkCheck::Run() {
  RETURN_IF_ERROR(ReadTables());
  for (uint64_t begin = 0;;) {
    ASSIGN_OR_RETURN(const Share share, ReadShare(begin));
    for (uint32_t chain : chains_) {
      Status status = CheckChain(chain, share);
      if (status.ok()) continue;
      // The others are looked at all the same.
      proto::Finding finding;
      finding.set_kind(proto::FINDING_UNSPECIFIED);
      finding.set_chain(chain);
      finding.set_text("chain " + std::to_string(chain) +
                       ": its chunks could not be checked: " + status.message());
      RETURN_IF_ERROR(tell_(finding));
    }
    if (share.end == 0) break;
    begin = share.end;
  }
  return TellOrphans();
}

Status ChunkCheck::ReadTables() {
  ASSIGN_OR_RETURN(const proto::ClusterMap map, source_.Map());
  for (const proto::Chain& chain : map.chains()) chains_.push_back(chain.id());
  for (const proto::ChainTable& table : map.tables()) {
    tables_[table.version()].assign(table.chain_ids().begin(), table.chain_ids().end());
  }
  return Status::Ok();
}

// The smallest data_ids from `begin` on. Where there are more than fit, the share ends earlier.
Result<ChunkCheck::Share> ChunkCheck::ReadShare(uint64_t begin) {
  Share share;
  share.begin = begin;
  proto::ListDataRequest request;
  request.set_check(check_);
  request.set_min_data_id(begin);
  do {
    ASSIGN_OR_RETURN(const proto::ListDataResponse page, source_.ListData(request));
    for (const proto::DataEntry& entry : page.entries()) {
      if (share.end != 0 && entry.data_id() >= share.end) continue;
      share.data.push_back({.id = entry.data_id(),
                            .inode = entry.inode(),
                            .size = entry.size(),
                            .layout = {.chunk_size_log2 = entry.layout().chunk_size_log2(),
                                       .stripe_width = entry.layout().stripe_width(),
                                       .table_version = entry.layout().table_version(),
                                       .seed = entry.layout().seed()}});
    }
    if (share.data.size() > 2 * share_) Cut(share);
    if (share.end != 0) request.set_max_data_id(share.end - 1);
    request.set_cursor(page.cursor());
  } while (!request.cursor().empty());
  if (share.data.size() > share_) Cut(share);
  Sort(share);
  return share;
}

// Keeps about the smallest `share_`: all of one data_id, or none.
void ChunkCheck::Cut(Share& share) const {
  const auto by_id = [](const Data& a, const Data& b) { return a.id < b.id; };
  const auto nth = share.data.begin() + static_cast<ptrdiff_t>(share_);
  std::nth_element(share.data.begin(), nth, share.data.end(), by_id);
  const uint64_t end = std::max(nth->id, share.begin + 1);
  std::erase_if(share.data, [&](const Data& data) { return data.id >= end; });
  share.end = end;
}

// A data_id that is named twice is not judged: it is about to change.
void ChunkCheck::Sort(Share& share) {
  std::sort(share.data.begin(), share.data.end(), [](const Data& a, const Data& b) {
    return a.id != b.id ? a.id < b.id : a.inode < b.inode;
  });
  const auto last = std::unique(share.data.begin(), share.data.end(), [](Data& a, const Data& b) {
    if (a.id != b.id) return false;
    a.inode = 0;
    return true;
  });
  share.data.erase(last, share.data.end());
}

Status ChunkCheck::CheckChain(uint32_t chain, const Share& share) {
  std::optional<ChunkId> after = Before(ChunkId{DataId(share.begin), 0});
  for (;;) {
    ASSIGN_OR_RETURN(const proto::ListChunksResponse page,
                     source_.ListChunks(chain, after, std::nullopt, kPage));
    for (const proto::ChunkInfo& chunk : page.chunks()) {
      if (share.end != 0 && chunk.chunk().data_id() >= share.end) return Status::Ok();
      ++chunks_;
      RETURN_IF_ERROR(CheckChunk(chain, chunk, share));
    }
    if (page.end() || page.chunks().empty()) return Status::Ok();
    after = IdOf(page.chunks(page.chunks_size() - 1));
  }
}

Status ChunkCheck::CheckChunk(uint32_t chain, const proto::ChunkInfo& chunk, const Share& share) {
  const uint64_t id = chunk.chunk().data_id();
  const auto found =
      std::lower_bound(share.data.begin(), share.data.end(), id,
                       [](const Data& data, uint64_t wanted) { return data.id < wanted; });
  if (found == share.data.end() || found->id != id) {
    Suspect(chain, chunk);
    return Status::Ok();
  }
  if (found->inode == 0) return Status::Ok();
  RETURN_IF_ERROR(CheckPlace(chain, chunk, *found));
  return CheckLength(chain, chunk, *found);
}

// A layout never changes under a data_id: this needs no second look.
Status ChunkCheck::CheckPlace(uint32_t chain, const proto::ChunkInfo& chunk, const Data& data) {
  const auto table = tables_.find(data.layout.table_version);
  if (table == tables_.end() || table->second.empty()) return Status::Ok();  // told of the inode
  const ChunkId id = IdOf(chunk);
  const auto size = static_cast<uint32_t>(table->second.size());
  const uint32_t right = table->second[ChainPosition(data.layout, size, id.index)];
  if (right == chain) return Status::Ok();
  ASSIGN_OR_RETURN(const auto there, source_.ListChunks(right, Before(id), id.data_id.value(), 1));
  const bool has = !there.chunks().empty() && IdOf(there.chunks(0)) == id;
  proto::Finding finding;
  finding.set_kind(proto::MISPLACED_CHUNK);
  finding.set_inode(data.inode);
  finding.set_data_id(data.id);
  finding.set_chain(chain);
  finding.set_chunk_index(id.index);
  finding.set_text(ChunkText(chain, id) + ": it belongs to inode " + std::to_string(data.inode) +
                   " and on chain " + std::to_string(right) +
                   (has ? ", which has one too" : ", which has none"));
  return tell_(finding);
}

Status ChunkCheck::CheckLength(uint32_t chain, const proto::ChunkInfo& chunk, const Data& data) {
  const ChunkId id = IdOf(chunk);
  if (!LiesBeyond(data.layout, data.size, id, chunk.length())) return Status::Ok();
  if (told_lengths_.contains(data.inode) || told_lengths_.size() == kMaxOrphans) {
    return Status::Ok();
  }
  ASSIGN_OR_RETURN(const auto before, source_.GetData(data.inode));
  if (!before.exists() || !before.settled() || before.data_id() != data.id) return Status::Ok();
  ASSIGN_OR_RETURN(const auto now, source_.ListChunks(chain, Before(id), data.id, 1));
  if (now.chunks().empty() || IdOf(now.chunks(0)) != id) return Status::Ok();
  if (!LiesBeyond(data.layout, before.size(), id, now.chunks(0).length())) return Status::Ok();
  ASSIGN_OR_RETURN(const auto after, source_.GetData(data.inode));
  if (!after.exists() || !after.settled() || after.version() != before.version()) {
    return Status::Ok();
  }
  told_lengths_.insert(data.inode);
  proto::Finding finding;
  finding.set_kind(proto::CHUNK_BEYOND_LENGTH);
  finding.set_repairable(true);
  finding.set_inode(data.inode);
  finding.set_inode_version(after.version());
  finding.set_data_id(data.id);
  finding.set_chain(chain);
  finding.set_chunk_index(id.index);
  finding.set_text(ChunkText(chain, id) + ": it reaches beyond inode " +
                   std::to_string(data.inode) + ", whose length is " +
                   std::to_string(after.size()));
  return tell_(finding);
}

void ChunkCheck::Suspect(uint32_t chain, const proto::ChunkInfo& chunk) {
  const uint64_t id = chunk.chunk().data_id();
  auto suspect = suspects_.find(id);
  if (suspect == suspects_.end()) {
    if (suspects_.size() == kMaxOrphans) return;
    suspect = suspects_.emplace(id, Orphan{.chain = chain, .first = IdOf(chunk)}).first;
  }
  ++suspect->second.chunks;
}

// Order: the newer state of the metadata, then the chunk.
Status ChunkCheck::TellOrphans() {
  if (suspects_.empty()) return Status::Ok();
  proto::ListDataRequest request;
  request.set_check(check_);
  request.set_min_data_id(suspects_.begin()->first);
  request.set_max_data_id(suspects_.rbegin()->first);
  do {
    ASSIGN_OR_RETURN(const proto::ListDataResponse page, source_.ListData(request));
    for (const proto::DataEntry& entry : page.entries()) suspects_.erase(entry.data_id());
    request.set_cursor(page.cursor());
  } while (!request.cursor().empty());
  for (const auto& [id, orphan] : suspects_) {
    ASSIGN_OR_RETURN(const bool there, StillThere(orphan));
    if (!there) continue;
    proto::Finding finding;
    finding.set_kind(proto::ORPHAN_CHUNKS);
    finding.set_repairable(true);
    finding.set_data_id(id);
    finding.set_chain(orphan.chain);
    finding.set_chunk_index(orphan.first.index);
    finding.set_text(ChunkText(orphan.chain, orphan.first) +
                     (orphan.chunks > 1 ? " and " + std::to_string(orphan.chunks - 1) + " more"
                                        : std::string()) +
                     ": nothing names data " + std::to_string(id));
    RETURN_IF_ERROR(tell_(finding));
  }
  return Status::Ok();
}

Result<bool> ChunkCheck::StillThere(const Orphan& orphan) {
  ASSIGN_OR_RETURN(const auto now, source_.ListChunks(orphan.chain, Before(orphan.first),
                                                      orphan.first.data_id.value(), 1));
  return !now.chunks().empty();
}

}  // namespace sheaf::cli
