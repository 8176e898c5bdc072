#include "storage/engine/chunk_index.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>

#include <algorithm>

#include "common/log.h"
#include "common/rocksdb_log.h"
#include "common/zeroed_logs.h"
#include "storage/engine/chunk_format.h"

namespace sheaf::storage {

namespace {

std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

Status FromRocksDb(const rocksdb::Status& status, const std::string& what) {
  if (status.ok()) return Status::Ok();
  Code code = Code::kIo;
  if (status.IsCorruption()) code = Code::kCorrupt;
  if (status.IsNoSpace()) code = Code::kNoSpace;
  return Status(code, what + ": " + status.ToString());
}

// Sized for under 100 MiB: three memtables of 16 MiB, 32 MiB of blocks, filters and index blocks.
rocksdb::Options IndexOptions(rocksdb::Env* env) {
  rocksdb::Options options;
  if (env != nullptr) options.env = env;
  options.create_if_missing = true;
  options.write_buffer_size = 16 << 20;
  options.max_write_buffer_number = 3;
  options.max_total_wal_size = 64 << 20;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_background_jobs = 2;
  options.max_open_files = 256;
  options.info_log = MakeRocksDbLog("chunk index");
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.compression = rocksdb::kNoCompression;  // values are checksums
  options.level_compaction_dynamic_level_bytes = true;
  options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kChunkPrefixBytes));
  options.memtable_prefix_bloom_size_ratio = 0.1;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  table.block_cache = rocksdb::NewLRUCache(32 << 20);
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

Status Disagrees(const Engine::ChunkKey& key, const std::string& cause) {
  return Status(Code::kCorrupt,
                "load chunk " + ToString(key.chain) + "/" + ToString(key.chunk) + ": " + cause);
}

// Builds a record from its head, then its pages in key order.
class RecordBuilder {
 public:
  RecordBuilder(const Engine::ChunkKey& key, const StoredHead& head)
      : key_(key), left_(head.fields.stored_pages), record_(std::make_shared<ChunkRecord>()) {
    record_->length = head.fields.length;
    record_->chunk_size = uint32_t{1} << head.fields.chunk_size_log2;
    record_->version = ChunkVersion(head.fields.version);
    record_->chain_version = ChainVersion(head.fields.chain_version);
    record_->checksum = head.fields.checksum;
    record_->pages.resize(ChunkRecord::PagesFor(record_->length));
    if (head.inline_page != nullptr) record_->pages[0] = head.inline_page;
  }

  Status AddPage(uint16_t number, std::string_view key, std::string_view value) {
    if (number >= record_->pages.size() || left_ == 0) {
      return Disagrees(key_, "page " + std::to_string(number) + " is not the head's");
    }
    ASSIGN_OR_RETURN(record_->pages[number], DecodePage(key, value));
    --left_;
    return Status::Ok();
  }

  // What has been added so far.
  const ChunkRecord& partial() const { return *record_; }

  Result<RecordRef> Finish() {
    if (left_ != 0) return Disagrees(key_, std::to_string(left_) + " pages are missing");
    RETURN_IF_ERROR(CheckTail());
    if (record_->ComputeChecksum() != record_->checksum) {
      return Disagrees(key_, "the pages are not the head's (checksum mismatch)");
    }
    return RecordRef(std::move(record_));
  }

 private:
  // Invariant 2 of ChunkRecord.
  Status CheckTail() const {
    const uint32_t blocks = (record_->length + kBlockBytes - 1) / kBlockBytes;
    const auto pages = static_cast<uint32_t>(record_->pages.size());
    for (uint32_t block = blocks; block < pages * kBlocksPerPage; ++block) {
      if (record_->BlockAt(block) != kNoBlock) return Disagrees(key_, "a block past the length");
    }
    return Status::Ok();
  }

  const Engine::ChunkKey key_;
  uint32_t left_;
  std::shared_ptr<ChunkRecord> record_;
};

Engine::ChunkState StateOf(const DiskHead& head) {
  return {head.length, ChunkVersion(head.version), ChainVersion(head.chain_version), head.checksum,
          uint32_t{1} << head.chunk_size_log2};
}

// Puts and deletes that take the index from `before` to `after`.
void AppendChange(const ChunkIndex::Change& change, rocksdb::WriteBatch& batch) {
  const auto stored = [](const RecordRef& record, size_t page) -> const ChunkPage* {
    if (record == nullptr || KeepsPageInline(*record) || page >= record->pages.size()) {
      return nullptr;
    }
    return record->pages[page].get();
  };
  const size_t pages = std::max(change.before != nullptr ? change.before->pages.size() : 0,
                                change.after != nullptr ? change.after->pages.size() : 0);
  for (size_t page = 0; page < pages; ++page) {
    const ChunkPage* was = stored(change.before, page);
    const ChunkPage* is = stored(change.after, page);
    if (was == is) continue;
    const std::string key = PageKey(change.key, static_cast<uint16_t>(page));
    if (is != nullptr) {
      batch.Put(key, EncodePage(key, *is));
    } else {
      batch.Delete(key);
    }
  }
  if (change.before == change.after) return;
  const std::string key = HeadKey(change.key);
  if (change.after != nullptr) {
    batch.Put(key, EncodeHead(key, *change.after));
  } else {
    batch.Delete(key);
  }
}

enum class Wanted { kYes, kNo, kEnd };

// Heads from key `start` on that `wanted` says, until it says end or there are `limit`.
template <typename Filter>
Result<std::vector<Engine::ListedChunk>> ListFrom(rocksdb::DB& db, const std::string& start,
                                                  uint32_t limit, Filter wanted) {
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  std::vector<Engine::ListedChunk> chunks;
  it->Seek(start);
  while (it->Valid() && chunks.size() < limit && !IsStreamRowKey(ToView(it->key()))) {
    ASSIGN_OR_RETURN(const IndexKey key, DecodeIndexKey(ToView(it->key())));
    Engine::ListedChunk chunk{key.chunk, {}, Status::Ok()};
    bool many_pages = false;
    if (key.kind == KeyKind::kHead) {
      const auto head = DecodeHead(ToView(it->key()), ToView(it->value()));
      chunk.damage = head.status();
      if (head.ok()) {
        chunk.state = StateOf(head->fields);
        many_pages = head->fields.stored_pages > 8;  // fewer are stepped over faster
      }
    }
    const Wanted answer = wanted(chunk);
    if (answer == Wanted::kEnd) break;
    if (answer == Wanted::kYes && key.kind == KeyKind::kHead) chunks.push_back(std::move(chunk));
    if (many_pages) {
      it->Seek(AfterChunkKey(key.chunk));
    } else {
      it->Next();
    }
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "list chunks"));
  return chunks;
}

// At the first row. Rows share no prefix, so every scan of them is in total order.
std::unique_ptr<rocksdb::Iterator> StreamRowIterator(rocksdb::DB& db) {
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  it->Seek(FirstStreamRowKey());
  return it;
}

// One chunk's entries as they are come across, sound or not.
class EntryReader {
 public:
  EntryReader(const IndexKey& key, std::string_view head_key, std::string_view head_value)
      : key_(key.chunk) {
    if (key.kind != KeyKind::kHead) {
      damage_ = Disagrees(key_, "a page without a head");
      return;
    }
    const auto head = DecodeHead(head_key, head_value);
    damage_ = head.status();
    if (head.ok()) builder_.emplace(key_, *head);
  }

  const Engine::ChunkKey& key() const { return key_; }

  void AddPage(uint16_t number, std::string_view key, std::string_view value) {
    if (damage_.ok()) {
      damage_ = builder_->AddPage(number, key, value);
      if (damage_.ok()) return;
    }
    const auto page = DecodePage(key, value);
    if (!page.ok()) return;
    for (BlockNumber block : (*page)->blocks) {
      if (block != kNoBlock) loose_blocks_.push_back(block);
    }
  }

  Status Finish(const ChunkIndex::Visit& visit, const ChunkIndex::Damaged& damaged) {
    if (damage_.ok()) {
      const auto record = builder_->Finish();
      if (record.ok()) return visit(key_, **record);
      damage_ = record.status();
    }
    if (builder_.has_value()) AppendBlocks(builder_->partial(), loose_blocks_);
    damaged(key_, damage_, loose_blocks_);
    return Status::Ok();
  }

 private:
  const Engine::ChunkKey key_;
  Status damage_;
  std::optional<RecordBuilder> builder_;
  std::vector<BlockNumber> loose_blocks_;
};

}  // namespace

ChunkIndex::ChunkIndex(std::unique_ptr<rocksdb::Env> env, std::unique_ptr<rocksdb::DB> db)
    : env_(std::move(env)), db_(std::move(db)) {}
ChunkIndex::~ChunkIndex() = default;
ChunkIndex::View::~View() { db_.ReleaseSnapshot(snapshot_); }

Result<std::unique_ptr<ChunkIndex>> ChunkIndex::Open(const std::string& path, rocksdb::Env* env,
                                                     uint64_t log_bytes) {
  auto logs = ZeroedLogsEnv(env, log_bytes);
  rocksdb::DB* db = nullptr;
  const auto status = rocksdb::DB::Open(IndexOptions(logs.get()), path, &db);
  if (!status.ok()) return FromRocksDb(status, "open chunk index " + path);
  return std::unique_ptr<ChunkIndex>(
      new ChunkIndex(std::move(logs), std::unique_ptr<rocksdb::DB>(db)));
}

Result<std::unique_ptr<ChunkIndex>> ChunkIndex::OpenReadOnly(const std::string& path) {
  constexpr int kTries = 5;  // a server beside it may remove files while they are opened
  rocksdb::Options options = IndexOptions(nullptr);
  options.create_if_missing = false;
  options.max_open_files = -1;  // all now: a file that is removed later stays readable
  rocksdb::Status status;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    rocksdb::DB* db = nullptr;
    status = rocksdb::DB::OpenForReadOnly(options, path, &db);
    if (status.ok())
      return std::unique_ptr<ChunkIndex>(
          new ChunkIndex(nullptr, std::unique_ptr<rocksdb::DB>(db)));
  }
  return FromRocksDb(status, "open chunk index " + path + " for reading");
}

Result<uint64_t> ChunkIndex::ReadTarget() {
  std::string value;
  const auto status = db_->Get({}, TargetKey(), &value);
  if (status.ok()) return DecodeTarget(value);
  if (status.IsNotFound()) return Status(Code::kNotFound, "read target record: there is none");
  return FromRocksDb(status, "read target record");
}

Result<uint64_t> ChunkIndex::OpenTarget(uint64_t slab_bytes) {
  auto stored = ReadTarget();
  if (stored.status().code() != Code::kNotFound) return stored;
  rocksdb::WriteOptions synced;
  synced.sync = true;
  RETURN_IF_ERROR(
      FromRocksDb(db_->Put(synced, TargetKey(), EncodeTarget(slab_bytes)), "write target record"));
  return slab_bytes;
}

Result<RecordRef> ChunkIndex::Load(const Engine::ChunkKey& key) {
  const std::string head_key = HeadKey(key);
  std::string value;
  auto status = db_->Get({}, head_key, &value);
  if (status.IsNotFound()) return RecordRef();
  if (!status.ok()) return FromRocksDb(status, "load chunk " + ToString(key.chunk));
  ASSIGN_OR_RETURN(const StoredHead head, DecodeHead(head_key, value));
  RecordBuilder builder(key, head);
  if (head.fields.stored_pages > 0) {
    rocksdb::ReadOptions options;
    options.prefix_same_as_start = true;
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
    for (it->Seek(PageKey(key, 0)); it->Valid(); it->Next()) {
      ASSIGN_OR_RETURN(const IndexKey decoded, DecodeIndexKey(ToView(it->key())));
      if (decoded.chunk != key || decoded.kind != KeyKind::kPage) break;
      RETURN_IF_ERROR(builder.AddPage(decoded.page, ToView(it->key()), ToView(it->value())));
    }
    RETURN_IF_ERROR(FromRocksDb(it->status(), "load chunk " + ToString(key.chunk)));
  }
  return builder.Finish();
}

Status ChunkIndex::Commit(std::span<const Change> changes,
                          std::span<const Engine::StreamRow> rows) {
  rocksdb::WriteBatch batch;
  for (const Change& change : changes) AppendChange(change, batch);
  for (const Engine::StreamRow& row : rows) {
    const std::string key = StreamRowKey(row);
    batch.Put(key, EncodeStreamRow(key, row));
  }
  if (batch.Count() == 0) return Status::Ok();
  rocksdb::WriteOptions options;
  options.sync = true;
  return FromRocksDb(db_->Write(options, &batch), "commit chunk index");
}

Result<std::vector<Engine::StreamRow>> ChunkIndex::LoadStreamRows() {
  std::vector<Engine::StreamRow> rows;
  const auto it = StreamRowIterator(*db_);
  for (; it->Valid() && IsStreamRowKey(ToView(it->key())); it->Next()) {
    auto row = DecodeStreamRow(ToView(it->key()), ToView(it->value()));
    if (row.ok()) {
      rows.push_back(*row);
    } else {
      LogError("a stream row is left out: {}", row.status().ToString());
    }
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "load stream rows"));
  return rows;
}

Status ChunkIndex::RemoveStreamRows(const std::function<bool(Incarnation)>& over) {
  constexpr uint32_t kMaxRemoved = 4096;  // rows of one batch
  rocksdb::WriteBatch batch;
  const auto it = StreamRowIterator(*db_);
  for (; it->Valid() && IsStreamRowKey(ToView(it->key())); it->Next()) {
    const auto row = DecodeStreamRowKey(ToView(it->key()));
    if (!row.ok() || !over(row->incarnation)) continue;
    batch.Delete(it->key());
    if (batch.Count() < kMaxRemoved) continue;
    RETURN_IF_ERROR(FromRocksDb(db_->Write({}, &batch), "remove stream rows"));
    batch.Clear();
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "remove stream rows"));
  if (batch.Count() == 0) return Status::Ok();
  return FromRocksDb(db_->Write({}, &batch), "remove stream rows");
}

Result<std::vector<Engine::ListedChunk>> ChunkIndex::List(ChainId chain,
                                                          std::optional<ChunkId> after,
                                                          std::optional<DataId> only,
                                                          uint32_t limit) {
  ChunkId first{only.value_or(DataId(0)), 0};
  std::string start = ChunkPrefix({chain, first});
  if (after.has_value()) start = std::max(start, AfterChunkKey({chain, *after}));
  return ListFrom(*db_, start, limit, [&](const Engine::ListedChunk& chunk) {
    if (chunk.key.chain != chain) return Wanted::kEnd;
    if (only.has_value() && chunk.key.chunk.data_id != *only) return Wanted::kEnd;
    return chunk.damage.ok() ? Wanted::kYes : Wanted::kNo;
  });
}

Result<std::vector<Engine::ListedChunk>> ChunkIndex::ListAll(std::optional<Engine::ChunkKey> after,
                                                             uint32_t limit) {
  const std::string start = after.has_value() ? AfterChunkKey(*after) : ChunkPrefix({});
  return ListFrom(*db_, start, limit, [](const auto&) { return Wanted::kYes; });
}

std::unique_ptr<ChunkIndex::View> ChunkIndex::Snapshot() {
  return std::make_unique<View>(*db_, db_->GetSnapshot());
}

Status ChunkIndex::ForEach(const View& view, const Visit& visit, const Damaged& damaged) {
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  options.snapshot = view.get();
  options.fill_cache = false;
  options.readahead_size = 1 << 20;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  std::optional<EntryReader> entry;
  it->SeekToFirst();
  if (it->Valid() && ToView(it->key()) == TargetKey()) it->Next();
  for (; it->Valid() && !IsStreamRowKey(ToView(it->key())); it->Next()) {
    ASSIGN_OR_RETURN(const IndexKey key, DecodeIndexKey(ToView(it->key())));
    if (!entry.has_value() || entry->key() != key.chunk) {
      if (entry.has_value()) RETURN_IF_ERROR(entry->Finish(visit, damaged));
      entry.emplace(key, ToView(it->key()), ToView(it->value()));
    }
    if (key.kind == KeyKind::kPage) {
      entry->AddPage(key.page, ToView(it->key()), ToView(it->value()));
    }
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "scan chunk index"));
  return entry.has_value() ? entry->Finish(visit, damaged) : Status::Ok();
}

}  // namespace sheaf::storage
