#include "meta/kv/rocksdb_kv.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <utility>

#include "common/rocksdb_log.h"

namespace sheaf::meta {
namespace {

// The table byte and the first u64: the rows of one directory or one inode share it.
constexpr size_t kPrefixBytes = 9;

rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return Status::Ok();
  const Code code = status.IsNoSpace()      ? Code::kNoSpace
                    : status.IsCorruption() ? Code::kCorrupt
                    : status.IsBusy()       ? Code::kBusy
                                            : Code::kIo;
  return {code, std::string(what) + ": " + status.ToString()};
}

bool ShareFullPrefix(std::string_view begin, std::string_view end) {
  return begin.size() >= kPrefixBytes && end.size() >= kPrefixBytes &&
         begin.substr(0, kPrefixBytes) == end.substr(0, kPrefixBytes);
}

// Reads at a snapshot, or at the latest state where there is none.
class RocksReader {
 public:
  RocksReader(rocksdb::DB* db, const rocksdb::Snapshot* snapshot) : db_(db) {
    options_.snapshot = snapshot;
  }

  Result<std::optional<std::string>> Get(std::string_view key) const {
    std::string value;
    const rocksdb::Status status = db_->Get(options_, ToSlice(key), &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    RETURN_IF_ERROR(FromRocks(status, "get"));
    return std::optional<std::string>(std::move(value));
  }

  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const {
    std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> statuses(keys.size());
    db_->MultiGet(options_, db_->DefaultColumnFamily(), keys.size(), slices.data(), values.data(),
                  statuses.data());
    std::vector<std::optional<std::string>> answer(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      if (statuses[i].IsNotFound()) continue;
      RETURN_IF_ERROR(FromRocks(statuses[i], "multiget"));
      answer[i].emplace(values[i].data(), values[i].size());
    }
    return answer;
  }

  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const ReadView::Visitor& visitor) const {
    if (begin >= end) return Status::Ok();
    const rocksdb::Slice upper = ToSlice(end);
    rocksdb::ReadOptions options = options_;
    options.iterate_upper_bound = &upper;
    // Within one prefix its Bloom filter may answer; a wider scan needs the total order.
    options.total_order_seek = !ShareFullPrefix(begin, end);
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
    size_t visited = 0;
    for (it->Seek(ToSlice(begin)); it->Valid(); it->Next()) {
      if (!visitor(ToView(it->key()), ToView(it->value()))) break;
      if (++visited == limit) break;
    }
    return FromRocks(it->status(), "scan");
  }

 private:
  rocksdb::DB* db_;
  rocksdb::ReadOptions options_;
};

class RocksSnapshot final : public ReadView {
 public:
  explicit RocksSnapshot(rocksdb::DB* db)
      : db_(db), snapshot_(db->GetSnapshot()), reader_(db, snapshot_) {}
  ~RocksSnapshot() override { db_->ReleaseSnapshot(snapshot_); }
  RocksSnapshot(const RocksSnapshot&) = delete;
  RocksSnapshot& operator=(const RocksSnapshot&) = delete;

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    return reader_.Get(key);
  }
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override {
    return reader_.MultiGet(keys);
  }
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override {
    return reader_.Scan(begin, end, limit, visitor);
  }

 private:
  rocksdb::DB* db_;
  const rocksdb::Snapshot* snapshot_;
  RocksReader reader_;
};

class RocksDbKv final : public KvStore {
 public:
  explicit RocksDbKv(std::unique_ptr<rocksdb::DB> db)
      : db_(std::move(db)), reader_(db_.get(), nullptr) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    return reader_.Get(key);
  }
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override {
    return reader_.MultiGet(keys);
  }
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override {
    return reader_.Scan(begin, end, limit, visitor);
  }
  std::unique_ptr<ReadView> Snapshot() const override {
    return std::make_unique<RocksSnapshot>(db_.get());
  }

  Status Write(std::span<const KvChange> changes, bool sync) override {
    size_t bytes = 0;
    for (const KvChange& change : changes) {
      bytes += change.key.size() + (change.value ? change.value->size() : 0) + kPerChangeBytes;
    }
    rocksdb::WriteBatch batch(bytes);
    for (const KvChange& change : changes) {
      RETURN_IF_ERROR(FromRocks(change.value
                                    ? batch.Put(ToSlice(change.key), ToSlice(*change.value))
                                    : batch.Delete(ToSlice(change.key)),
                                "build batch"));
    }
    rocksdb::WriteOptions options;
    options.sync = sync;
    return FromRocks(db_->Write(options, &batch), "write batch");
  }

 private:
  static constexpr size_t kPerChangeBytes = 12;  // the batch's own, about

  std::unique_ptr<rocksdb::DB> db_;
  RocksReader reader_;
};

rocksdb::BlockBasedTableOptions TableOptions(size_t cache_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(cache_bytes);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.whole_key_filtering = true;
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  table.data_block_hash_table_util_ratio = 0.75;
  // Index and filters count against the cache, in small pieces, so that memory has one bound.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.format_version = 5;
  return table;
}

bool HasCompression(rocksdb::CompressionType type) {
  const auto supported = rocksdb::GetSupportedCompressions();
  return std::find(supported.begin(), supported.end(), type) != supported.end();
}

rocksdb::Options MakeOptions(const RocksDbKvOptions& wanted) {
  rocksdb::Options options;
  options.env = wanted.env != nullptr ? wanted.env : rocksdb::Env::Default();
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.write_buffer_size = wanted.write_buffer_bytes;
  options.max_open_files = wanted.max_open_files;
  options.max_background_jobs = 2;
  options.prefix_extractor.reset(rocksdb::NewCappedPrefixTransform(kPrefixBytes));
  options.memtable_prefix_bloom_size_ratio = 0.1;
  options.memtable_whole_key_filtering = true;
  options.table_factory.reset(
      rocksdb::NewBlockBasedTableFactory(TableOptions(wanted.block_cache_bytes)));
  options.compression =
      HasCompression(rocksdb::kLZ4Compression) ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
  if (HasCompression(rocksdb::kZSTD)) options.bottommost_compression = rocksdb::kZSTD;
  // Every group syncs its own log record: no other smoothing of log writes. Logs are not recycled:
  // RocksDB allows that only with a recovery mode that skips damaged records.
  options.wal_bytes_per_sync = 0;
  options.track_and_verify_wals_in_manifest = true;
  // A record that a power cut tore was never acknowledged: recovery ends before it. (The stricter
  // modes would refuse to open after any such cut.)
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.keep_log_file_num = 4;
  options.max_log_file_size = 16 << 20;
  options.info_log = MakeRocksDbLog("metadata store");
  return options;
}

}  // namespace

Result<std::unique_ptr<KvStore>> OpenRocksDbKv(const std::string& directory,
                                               const RocksDbKvOptions& options) {
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(MakeOptions(options), directory, &db);
  RETURN_IF_ERROR(FromRocks(status, "open metadata database " + directory));
  return std::unique_ptr<KvStore>(std::make_unique<RocksDbKv>(std::unique_ptr<rocksdb::DB>(db)));
}

}  // namespace sheaf::meta
