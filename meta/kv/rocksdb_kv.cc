#include "meta/kv/rocksdb_kv.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <set>
#include <system_error>
#include <utility>

#include "common/guarded.h"
#include "common/log.h"
#include "common/rocksdb_log.h"
#include "common/zeroed_logs.h"
#include "meta/kv/space_reserve.h"

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

// One opening of the database, shared by all who use it just now; it is closed when the last of
// them lets go. A snapshot does not hold it open: one that is left over ends with it. Thread-safe.
class Database {
 public:
  // `env`: its own; null where it has none.
  Database(std::unique_ptr<rocksdb::Env> env, std::unique_ptr<rocksdb::DB> db)
      : env_(std::move(env)), db_(std::move(db)) {}
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  rocksdb::DB* db() const { return db_.get(); }
  const rocksdb::Snapshot* TakeSnapshot();
  void ReleaseSnapshot(const rocksdb::Snapshot* snapshot);
  // Ready once the database is closed. To be asked for once.
  std::future<void> Closed() { return closed_.get_future(); }

 private:
  std::promise<void> closed_;
  Guarded<std::set<const rocksdb::Snapshot*>> snapshots_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::DB> db_;
};

Database::~Database() {
  for (const rocksdb::Snapshot* snapshot : *snapshots_.Lock()) db_->ReleaseSnapshot(snapshot);
  db_.reset();
  closed_.set_value();
}

const rocksdb::Snapshot* Database::TakeSnapshot() {
  const rocksdb::Snapshot* snapshot = db_->GetSnapshot();
  snapshots_.Lock()->insert(snapshot);
  return snapshot;
}

void Database::ReleaseSnapshot(const rocksdb::Snapshot* snapshot) {
  snapshots_.Lock()->erase(snapshot);
  db_->ReleaseSnapshot(snapshot);
}

// RocksDB's own way out of a full disk is not taken: in version 7.8 it leaves the log's writer in
// its error, and every write after it fails. The store is opened anew instead (RocksDbKv::Recover),
// which also ends the log before what may be half a record.
class NoAutoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

class RocksSnapshot final : public ReadView {
 public:
  explicit RocksSnapshot(const std::shared_ptr<Database>& database) : database_(database) {
    if (database != nullptr) snapshot_ = database->TakeSnapshot();
  }
  ~RocksSnapshot() override {
    if (const auto database = database_.lock()) database->ReleaseSnapshot(snapshot_);
  }
  RocksSnapshot(const RocksSnapshot&) = delete;
  RocksSnapshot& operator=(const RocksSnapshot&) = delete;

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    const auto database = database_.lock();
    if (database == nullptr) return Gone();
    return RocksReader(database->db(), snapshot_).Get(key);
  }
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override {
    const auto database = database_.lock();
    if (database == nullptr) return Gone();
    return RocksReader(database->db(), snapshot_).MultiGet(keys);
  }
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override {
    const auto database = database_.lock();
    if (database == nullptr) return Gone();
    return RocksReader(database->db(), snapshot_).Scan(begin, end, limit, visitor);
  }

 private:
  static Status Gone() {
    return {Code::kUnavailable, "read snapshot: the metadata store was opened anew; ask again"};
  }

  std::weak_ptr<Database> database_;
  const rocksdb::Snapshot* snapshot_ = nullptr;
};

class RocksDbKv final : public KvStore {
 public:
  RocksDbKv(std::string directory, const RocksDbKvOptions& options)
      : directory_(std::move(directory)),
        options_(options),
        reserve_(options.reserve_path, options.reserve_bytes, *options.clock) {}

  Status Open() {
    reserve_.Fill();
    Status opened = OpenDatabase();
    if (opened.code() != Code::kNoSpace || !reserve_.whole()) return opened;
    reserve_.Release();
    return OpenDatabase();
  }

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    const auto database = Current();
    if (database == nullptr) return Closed();
    return RocksReader(database->db(), nullptr).Get(key);
  }
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override {
    const auto database = Current();
    if (database == nullptr) return Closed();
    return RocksReader(database->db(), nullptr).MultiGet(keys);
  }
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override {
    const auto database = Current();
    if (database == nullptr) return Closed();
    return RocksReader(database->db(), nullptr).Scan(begin, end, limit, visitor);
  }
  std::unique_ptr<ReadView> Snapshot() const override {
    return std::make_unique<RocksSnapshot>(Current());
  }

  Status Write(std::span<const KvChange> changes, bool sync) override {
    if (!failed_.ok()) return failed_;
    const auto database = Current();
    if (database == nullptr) return Closed();
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
    failed_ = FromRocks(database->db()->Write(options, &batch), "write batch");
    return failed_;
  }

  Status Recover() override {
    if (failed_.ok()) return Status::Ok();
    if (failed_.code() != Code::kNoSpace) {
      return failed_.With("metadata store " + directory_ +
                          ": nothing more is written; repair the disk and restart the service");
    }
    RETURN_IF_ERROR(MakeRoom());
    RETURN_IF_ERROR(Close());
    const Status opened = OpenDatabase();
    if (opened.ok()) {
      failed_ = Status::Ok();
      return opened;
    }
    // Reads go on meanwhile.
    if (const Status readable = OpenDatabase(/*read_only=*/true); !readable.ok()) {
      LogError("{}", readable.ToString());
    }
    return {Code::kNoSpace, opened.message()};
  }

  bool SpaceIsShort() override { return !reserve_.Fill(); }

  KvStats Stats() const override {
    return {.cache_bytes = Property(rocksdb::DB::Properties::kBlockCacheUsage),
            .memtable_bytes = Property(rocksdb::DB::Properties::kCurSizeAllMemTables),
            .file_bytes = Property(rocksdb::DB::Properties::kTotalSstFilesSize)};
  }

 private:
  static constexpr size_t kPerChangeBytes = 12;  // the batch's own, about
  // What opening takes beside the contents of the logs: manifest, options, a new log (one that
  // grows, where there is no room for zeros).
  static constexpr uint64_t kOpenBytes = 1 << 20;
  static constexpr std::chrono::seconds kCloseWait{10};

  std::shared_ptr<Database> Current() const { return *current_.Lock(); }
  Status Closed() const {
    return {Code::kUnavailable, "metadata store " + directory_ + ": not open just now"};
  }

  Status OpenDatabase(bool read_only = false);

  // Opening writes the logs' contents to tables: not tried unless they fit.
  Status MakeRoom() {
    const uint64_t needed = LogBytes() + kOpenBytes;
    if (FreeBytes(directory_) < needed && reserve_.whole()) reserve_.Release();
    const uint64_t free = FreeBytes(directory_);
    if (free >= needed) return Status::Ok();
    return {Code::kNoSpace, "metadata store " + directory_ + ": the disk is full; free at least " +
                                std::to_string((needed - free) >> 10) + " KiB more"};
  }

  uint64_t LogBytes() const {
    uint64_t bytes = 0;
    std::error_code error;
    for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
         it.increment(error)) {
      std::error_code gone;
      const uint64_t size = it->path().extension() == ".log" ? it->file_size(gone) : 0;
      if (!gone) bytes += size;
    }
    return bytes;
  }

  // Waits for reads under way; what they hold is closed with the last of them.
  Status Close() {
    std::shared_ptr<Database> last;
    last.swap(*current_.Lock());
    if (last != nullptr) closing_ = last->Closed();
    last.reset();
    if (closing_.valid() && closing_.wait_for(kCloseWait) != std::future_status::ready) {
      return {Code::kBusy, "metadata store " + directory_ + ": reads under way hold it open"};
    }
    closing_ = {};
    return Status::Ok();
  }

  uint64_t Property(const std::string& name) const {
    uint64_t value = 0;
    if (const auto database = Current()) database->db()->GetIntProperty(name, &value);
    return value;
  }

  const std::string directory_;
  const RocksDbKvOptions options_;
  Guarded<std::shared_ptr<Database>> current_;  // null while it is opened anew
  // The writer's own.
  SpaceReserve reserve_;
  Status failed_;  // of the last write; from then on nothing is written until Recover
  std::future<void> closing_;
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
  options.listeners.push_back(std::make_shared<NoAutoRecovery>());
  options.max_bgerror_resume_count = 0;
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
  // Every group syncs its own log record: no other smoothing of log writes.
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

// Two buffers' logs and the tables made of them fit into the reserve.
rocksdb::Options OptionsWithin(const RocksDbKvOptions& wanted, uint64_t reserve_bytes) {
  constexpr uint64_t kShare = 4;
  constexpr uint64_t kSmallest = 256 << 10;
  rocksdb::Options options = MakeOptions(wanted);
  if (reserve_bytes > 0) {
    options.write_buffer_size =
        std::clamp<uint64_t>(reserve_bytes / kShare, kSmallest,
                             std::max<uint64_t>(wanted.write_buffer_bytes, kSmallest));
  }
  return options;
}

Status RocksDbKv::OpenDatabase(bool read_only) {
  rocksdb::Options options = OptionsWithin(options_, reserve_.bytes());
  auto env = ZeroedLogsEnv(options.env,
                           std::min<uint64_t>(options_.log_bytes, options.write_buffer_size));
  options.env = env.get();
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = read_only ? rocksdb::DB::OpenForReadOnly(options, directory_, &db)
                                           : rocksdb::DB::Open(options, directory_, &db);
  RETURN_IF_ERROR(FromRocks(status, "open metadata database " + directory_));
  *current_.Lock() = std::make_shared<Database>(std::move(env), std::unique_ptr<rocksdb::DB>(db));
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<KvStore>> OpenRocksDbKv(const std::string& directory,
                                               const RocksDbKvOptions& options) {
  auto store = std::make_unique<RocksDbKv>(directory, options);
  RETURN_IF_ERROR(store->Open());
  return std::unique_ptr<KvStore>(std::move(store));
}

namespace {

// Owns what it reads.
class RocksReadOnly final : public ReadView {
 public:
  explicit RocksReadOnly(std::unique_ptr<rocksdb::DB> db)
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

 private:
  const std::unique_ptr<rocksdb::DB> db_;
  RocksReader reader_;
};

}  // namespace

Result<std::unique_ptr<ReadView>> OpenRocksDbReadOnly(const std::string& directory) {
  constexpr int kTries = 5;
  rocksdb::Options options = MakeOptions({.block_cache_bytes = 32 << 20});
  options.create_if_missing = false;
  options.max_open_files = -1;  // all now: a file that is removed later stays readable
  rocksdb::Status status;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    rocksdb::DB* db = nullptr;
    status = rocksdb::DB::OpenForReadOnly(options, directory, &db);
    if (status.ok()) {
      return std::unique_ptr<ReadView>(
          std::make_unique<RocksReadOnly>(std::unique_ptr<rocksdb::DB>(db)));
    }
  }
  return FromRocks(status, "open metadata database " + directory + " for reading");
}

}  // namespace sheaf::meta
