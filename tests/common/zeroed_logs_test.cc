#include "common/zeroed_logs.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/rocksdb_log.h"
#include "tests/support/fake_disk.h"
#include "tests/support/faulty_env.h"

namespace sheaf {
namespace {

using testing::CrashPoint;
using testing::FaultyEnv;

constexpr uint64_t kLogBytes = 8 << 10;
constexpr char kDirectory[] = "/db";

// A database whose logs are zeroed beforehand, on a machine that may die.
struct Store {
  explicit Store(rocksdb::Env* machine, uint64_t log_bytes = kLogBytes)
      : env(ZeroedLogsEnv(machine, log_bytes)) {
    rocksdb::Options options;
    options.env = env.get();
    options.create_if_missing = true;
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    options.info_log = MakeRocksDbLog("zeroed logs test");
    options.track_and_verify_wals_in_manifest = true;
    rocksdb::DB* opened = nullptr;
    status = rocksdb::DB::Open(options, kDirectory, &opened);
    db.reset(opened);
  }

  rocksdb::Status Put(int number, bool sync) {
    rocksdb::WriteOptions options;
    options.sync = sync;
    return db->Put(options, Key(number), std::string(700, static_cast<char>('a' + number % 26)));
  }
  bool Has(int number) {
    std::string value;
    return db->Get({}, Key(number), &value).ok();
  }
  static std::string Key(int number) { return "key" + std::to_string(number); }

  std::unique_ptr<rocksdb::Env> env;  // before the database
  std::unique_ptr<rocksdb::DB> db;
  rocksdb::Status status;
};

// Nothing where there is no such file.
std::optional<std::string> Contents(rocksdb::Env* env, const std::string& path) {
  std::string bytes;
  if (!rocksdb::ReadFileToString(env, path, &bytes).ok()) return std::nullopt;
  return bytes;
}

std::vector<std::string> LogsIn(rocksdb::Env* env) {
  std::vector<std::string> names;
  EXPECT_TRUE(env->GetChildren(kDirectory, &names).ok());
  std::erase_if(names, [](const std::string& name) { return !name.ends_with(".log"); });
  return names;
}

void ExpectZeros(rocksdb::Env* env, const std::string& what) {
  const auto spare = Contents(env, "/db/spare");
  if (!spare.has_value()) return;
  EXPECT_EQ(spare->size(), kLogBytes) << what;
  EXPECT_EQ(std::count(spare->begin(), spare->end(), '\0'), static_cast<ptrdiff_t>(spare->size()))
      << what;
}

TEST(ZeroedLogsTest, ALogIsWrittenOverZerosAndTheOneBeforeBecomesTheNextSpare) {
  FaultyEnv machine;
  Store store(machine.env());
  ASSERT_TRUE(store.status.ok()) << store.status.ToString();
  const auto first = LogsIn(machine.env());
  ASSERT_EQ(first.size(), 1u);
  ASSERT_TRUE(store.Put(1, true).ok());
  EXPECT_EQ(Contents(machine.env(), "/db/" + first[0])->size(), kLogBytes) << "does not grow";
  EXPECT_FALSE(Contents(machine.env(), "/db/spare").has_value());

  ASSERT_TRUE(store.db->Flush({}).ok());  // the log is done with
  const auto second = LogsIn(machine.env());
  ASSERT_EQ(second.size(), 1u);
  EXPECT_NE(second, first);
  ExpectZeros(machine.env(), "after the first log");
  EXPECT_TRUE(Contents(machine.env(), "/db/spare").has_value());
}

TEST(ZeroedLogsTest, ALogGrowsPastItsZeros) {
  FaultyEnv machine;
  {
    Store store(machine.env());
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(store.Put(i, true).ok());
    EXPECT_GT(Contents(machine.env(), "/db/" + LogsIn(machine.env())[0])->size(), kLogBytes);
  }
  Store again(machine.env());
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(again.Has(i)) << i;
}

TEST(ZeroedLogsTest, NoBytesMeansLogsThatGrow) {
  FaultyEnv machine;
  Store store(machine.env(), 0);
  ASSERT_TRUE(store.status.ok());
  ASSERT_TRUE(store.Put(1, true).ok());
  EXPECT_LT(Contents(machine.env(), "/db/" + LogsIn(machine.env())[0])->size(), 1024u);
  ASSERT_TRUE(store.db->Flush({}).ok());
  EXPECT_FALSE(Contents(machine.env(), "/db/spare").has_value());
}

constexpr int kPuts = 24;

// Once the log that RocksDB is done with is a spare, its name becomes durable, as it may by anyone's
// sync of the directory.
void SyncNameOfSpare(rocksdb::Env* machine, const CrashPoint& crash) {
  while (!crash.dead() && !machine->FileExists("/db/spare").ok()) std::this_thread::yield();
  std::unique_ptr<rocksdb::Directory> directory;
  ASSERT_TRUE(machine->NewDirectory(kDirectory, &directory).ok());
  (void)directory->Fsync();  // fails on a dead machine
}

// Every third write is synced; every eighth begins another log, whose first records are written
// while the one before is flushed. The last write that is surely on the disk; -1: none.
int PutUntilDead(rocksdb::Env* machine, const CrashPoint& crash) {
  Store store(machine);
  int durable = -1;
  if (!store.status.ok()) return durable;
  rocksdb::FlushOptions beside;
  beside.wait = false;
  for (int i = 0; i < kPuts; ++i) {
    if (i == 16) SyncNameOfSpare(machine, crash);
    if (i % 8 == 0 && i > 0 && !store.db->Flush(beside).ok()) return durable;
    const bool sync = i % 3 == 2;
    if (!store.Put(i, sync).ok()) return durable;
    if (sync) durable = i;
  }
  return durable;
}

void DieAt(uint64_t step) {
  const auto crash = std::make_shared<CrashPoint>(step);
  FaultyEnv machine(crash);
  const int durable = PutUntilDead(machine.env(), *crash);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const std::string what = "step " + std::to_string(step) + ", seed " + std::to_string(seed);
    const auto survivor = machine.Survivor(seed, nullptr);
    ExpectZeros(survivor->env(), what);
    Store store(survivor->env());
    ASSERT_TRUE(store.status.ok()) << what << ": " << store.status.ToString();
    int found = 0;
    while (found < kPuts && store.Has(found)) ++found;
    EXPECT_GT(found, durable) << what;
    for (int i = found; i < kPuts; ++i) EXPECT_FALSE(store.Has(i)) << what << ": no " << found;
    ExpectZeros(survivor->env(), what + ", opened");
  }
}

// What a synced write acknowledged is found again, what was not is lost from its end only, and a
// spare holds nothing but zeros. All at once: a thread of RocksDB's sleeps for a second when a flush
// fails.
TEST(ZeroedLogsTest, ASpareIsZerosAfterACrashAnywhere) {
  rocksdb::Env::Default()->SetBackgroundThreads(64, rocksdb::Env::HIGH);
  const auto never = std::make_shared<CrashPoint>();
  {
    FaultyEnv machine(never);
    ASSERT_EQ(PutUntilDead(machine.env(), *never), kPuts - 1);
  }
  std::vector<std::future<void>> deaths;
  for (uint64_t step = 0; step < never->steps(); ++step) {
    deaths.push_back(std::async(std::launch::async, DieAt, step));
  }
  for (auto& death : deaths) death.get();
}

// Says how much room there is.
class SmallDisk final : public rocksdb::FileSystemWrapper {
 public:
  SmallDisk(const std::shared_ptr<rocksdb::FileSystem>& base, uint64_t free)
      : FileSystemWrapper(base), free_(free) {}
  const char* Name() const override { return "SmallDisk"; }
  rocksdb::IOStatus GetFreeSpace(const std::string&, const rocksdb::IOOptions&, uint64_t* free,
                                 rocksdb::IODebugContext*) override {
    *free = free_;
    return rocksdb::IOStatus::OK();
  }

 private:
  const uint64_t free_;
};

TEST(ZeroedLogsTest, WhereThereIsLittleRoomLogsGrowAndAreRemoved) {
  for (const auto& [free, zeroed] : {std::pair{4 * kLogBytes - 1, false}, {4 * kLogBytes, true}}) {
    FaultyEnv machine;
    const auto disk = rocksdb::NewCompositeEnv(
        std::make_shared<SmallDisk>(machine.env()->GetFileSystem(), free));
    Store store(disk.get());
    ASSERT_TRUE(store.status.ok()) << store.status.ToString();
    const auto log = Contents(machine.env(), "/db/" + LogsIn(machine.env())[0]);
    EXPECT_EQ(log->size() == kLogBytes, zeroed) << free << " bytes free";
    ASSERT_TRUE(store.Put(1, true).ok());
    ASSERT_TRUE(store.db->Flush({}).ok());
    store.db.reset();
    EXPECT_EQ(Contents(machine.env(), "/db/spare").has_value(), zeroed) << free << " bytes free";
  }
}

// A log that cannot be filled is removed, as if nothing had been tried.
TEST(ZeroedLogsTest, ASpareThatCannotBeMadeIsNotMissed) {
  FaultyEnv machine;
  const auto env = ZeroedLogsEnv(machine.env(), kLogBytes);
  ASSERT_TRUE(env->CreateDir(kDirectory).ok());
  std::unique_ptr<rocksdb::WritableFile> log;
  ASSERT_TRUE(env->NewWritableFile("/db/000007.log", &log, {}).ok());
  ASSERT_TRUE(log->Append("a record").ok());
  log.reset();
  machine.SetFull(true);
  EXPECT_TRUE(env->DeleteFile("/db/000007.log").ok());
  std::vector<std::string> left;
  ASSERT_TRUE(machine.env()->GetChildren(kDirectory, &left).ok());
  EXPECT_EQ(left, std::vector<std::string>{});
  machine.SetFull(false);
  EXPECT_FALSE(env->DeleteFile("/db/000007.log").ok()) << "there is none";
}

}  // namespace
}  // namespace sheaf
