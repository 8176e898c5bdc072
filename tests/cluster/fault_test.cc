#include <atomic>
#include <chrono>
#include <span>
#include <thread>

#include "tests/cluster/cluster_fixture.h"
#include "tests/support/eventually.h"

// Servers that die and come back, under load.

namespace sheaf::testing {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMiB = 1 << 20;
constexpr size_t kFileSize = 24 * kMiB;  // chunks on every server
constexpr size_t kBlock = 256 * 1024;

class ClusterFaultTest : public ClusterFixture {
 protected:
  void SetUp() override { StartCluster(); }

  // Writes block after block round and round, each time with a new salt, until told to stop, and
  // then checks that every block holds what was acknowledged last.
  class Writer {
   public:
    explicit Writer(std::shared_ptr<File> file)
        : file_(std::move(file)), salts_(kFileSize / kBlock, 0), thread_([this] { Run(); }) {}
    ~Writer() { Stop(); }
    // Returns after `rounds` more blocks have been acknowledged.
    void WaitFor(uint64_t blocks) {
      const uint64_t until = acknowledged_ + blocks;
      for (uint64_t now = acknowledged_; now < until && failed_ == 0; now = acknowledged_) {
        acknowledged_.wait(now);
      }
    }
    void Stop() {
      stop_ = true;
      if (thread_.joinable()) thread_.join();
    }
    int failed() const { return failed_; }
    void Check(File& file) const {
      for (size_t block = 0; block < salts_.size(); ++block) {
        if (salts_[block] == 0) continue;
        const uint64_t offset = block * kBlock;
        EXPECT_TRUE(ReadAll(file, offset, kBlock) == PatternAt(offset, kBlock, salts_[block]))
            << "block " << block;
      }
    }

   private:
    void Run() {
      for (uint64_t salt = 1; !stop_; ++salt) {
        const size_t block = salt % salts_.size();
        const uint64_t offset = block * kBlock;
        const auto written = file_->Write(offset, PatternAt(offset, kBlock, salt));
        if (!written.ok()) {
          ADD_FAILURE() << written.status().ToString();
          ++failed_;
          acknowledged_.notify_all();
          return;
        }
        salts_[block] = salt;
        ++acknowledged_;
        acknowledged_.notify_all();
      }
    }

    const std::shared_ptr<File> file_;
    std::vector<uint64_t> salts_;
    std::atomic<uint64_t> acknowledged_ = 0;
    std::atomic<bool> stop_ = false;
    std::atomic<int> failed_ = 0;
    std::thread thread_;
  };
};

TEST_F(ClusterFaultTest, WritesGoOnAfterAServerWasKilledAndCameBack) {
  const auto client = Connect();
  const auto file = Open(*client, "/load");
  Writer writer(file);
  for (int server = 0; server < cluster_->servers(); ++server) {
    writer.WaitFor(10);
    cluster_->KillServer(server);
    ASSERT_TRUE(cluster_->StartServer(server).ok());
  }
  writer.WaitFor(60);
  writer.Stop();
  EXPECT_EQ(writer.failed(), 0);
  writer.Check(*file);
  ASSERT_TRUE(file->Close().ok());
  const auto other = Connect();
  writer.Check(*Open(*other, "/load", O_RDONLY));
}

TEST_F(ClusterFaultTest, WritesGoOnAfterAServerWasFrozen) {
  const auto client = Connect();
  const auto file = Open(*client, "/load");
  Writer writer(file);
  writer.WaitFor(10);
  cluster_->PauseServer(1);
  cluster_->ResumeServer(1);
  writer.WaitFor(30);
  writer.Stop();
  EXPECT_EQ(writer.failed(), 0);
  writer.Check(*file);
}

TEST_F(ClusterFaultTest, AServerGoneLongerThanTheWaitIsEioAndLaterServesAgain) {
  const auto patient = Connect();
  const auto source = Open(*patient, "/file");
  ASSERT_TRUE(source->Write(0, PatternAt(0, kFileSize)).ok());
  ASSERT_TRUE(source->Close().ok());
  const auto client = Connect({.data_timeout = milliseconds(2000)});
  const auto file = Open(*client, "/file");
  for (int server = 0; server < cluster_->servers(); ++server) cluster_->KillServer(server);
  std::vector<uint8_t> bytes(kFileSize);
  EXPECT_EQ(file->Read(0, bytes).status().ToErrno(), EIO);
  // Taken into memory, or refused as the rest of it waits: told at the latest by Sync.
  (void)file->Write(0, bytes);
  EXPECT_EQ(file->Sync().ToErrno(), EIO);
  for (int server = 0; server < cluster_->servers(); ++server) {
    ASSERT_TRUE(cluster_->StartServer(server).ok());
  }
  EXPECT_TRUE(ReadAll(*Open(*patient, "/file", O_RDONLY), 0, kFileSize) == PatternAt(0, kFileSize));
  // The impatient client's connections come back, too; each call takes its 2 s at most.
  for (uint64_t offset = 0; offset < kFileSize; offset += kBlock) {
    const auto block = std::span(bytes).subspan(offset, kBlock);
    Result<size_t> again = file->Read(offset, block);
    for (int tries = 0; tries < 20 && !again.ok(); ++tries) again = file->Read(offset, block);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
  }
  // The lost write left what it was to replace.
  EXPECT_TRUE(bytes == PatternAt(0, kFileSize));
}

TEST_F(ClusterFaultTest, NamespaceCallsWaitForARestartedMetadataService) {
  const auto client = Connect();
  const auto file = Open(*client, "/open");
  ASSERT_TRUE(file->Write(0, PatternAt(0, 1000)).ok());
  std::atomic<int> made = 0;
  std::atomic<bool> stop = false;
  std::thread maker([&] {
    for (int i = 0; !stop; ++i) {
      const auto dir = client->MkdirPath("/d" + std::to_string(i));
      ASSERT_TRUE(dir.ok()) << dir.status().ToString();
      ++made;
      made.notify_all();
    }
  });
  const auto wait_for = [&](int more) {
    const int until = made + more;
    for (int now = made; now < until; now = made) made.wait(now);
  };
  for (int round = 0; round < 3; ++round) {
    wait_for(20);
    cluster_->KillMeta();
    ASSERT_TRUE(cluster_->StartMeta().ok());
  }
  wait_for(20);
  stop = true;
  maker.join();
  EXPECT_TRUE(file->Close().ok());
  const auto other = Connect();
  EXPECT_EQ(other->StatPath("/open")->size, 1000u);
  // Exactly once: each directory is there, none was answered "exists" to its own retry.
  for (int i = 0; i < made; ++i) {
    EXPECT_TRUE(other->StatPath("/d" + std::to_string(i)).ok()) << i;
  }
}

TEST_F(ClusterFaultTest, AMetadataServiceGoneLongerThanTheWaitIsEio) {
  std::unique_ptr<Client> client;
  // Connecting may itself take longer than this on a machine that is busy.
  ASSERT_TRUE(Eventually([&] {
    auto connected = Client::Connect(
        {.meta_address = cluster_->meta_address(), .meta_timeout = milliseconds(500)});
    if (connected.ok()) client = std::move(*connected);
    return connected.ok();
  }));
  cluster_->KillMeta();
  EXPECT_EQ(client->StatPath("/").status().ToErrno(), EIO);
  EXPECT_EQ(client->MkdirPath("/d").status().ToErrno(), EIO);
}

TEST_F(ClusterFaultTest, AnUnreachableMetadataServiceIsNamed) {
  cluster_->KillMeta();
  const auto client = Client::Connect(
      {.meta_address = cluster_->meta_address(), .meta_timeout = milliseconds(300)});
  ASSERT_FALSE(client.ok());
  EXPECT_EQ(client.status().code(), Code::kUnavailable);
  EXPECT_NE(client.status().message().find(cluster_->meta_address()), std::string::npos);
}

}  // namespace
}  // namespace sheaf::testing
