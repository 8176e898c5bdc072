// Clients that vanish or freeze, and what is left of what they wrote. The client that does is this
// program again, as a child: `--writer META PATH...` holds the files open for writing, writes what
// it is told to on its standard input, and syncs nothing by itself.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <sstream>
#include <thread>

#include "tests/cluster/cluster_fixture.h"
#include "tests/cluster/raw_session.h"
#include "tests/support/eventually.h"

namespace sheaf::testing {
namespace {

constexpr std::chrono::seconds kWait{60};
constexpr size_t kBlock = 1 << 20;

// A client in a process of its own. It is killed with the object.
class WriterProcess {
 public:
  WriterProcess(const std::string& meta_address, const std::vector<std::string>& paths) {
    int in[2];
    int out[2];
    CHECK(::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0);
    std::vector<std::string> words = {"/proc/self/exe", "--writer", meta_address};
    words.insert(words.end(), paths.begin(), paths.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      // Only async-signal-safe calls from here on: other threads' locks are lost.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(127);
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    commands_ = UniqueFd(in[1]);
    answers_ = UniqueFd(out[0]);
  }
  ~WriterProcess() { Kill(); }

  void Kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void Freeze() { ::kill(pid_, SIGSTOP); }
  void Thaw() { ::kill(pid_, SIGCONT); }

  // One line, and its answer: "ok", or what went wrong. Empty when the process is gone.
  std::string Do(const std::string& command) {
    const std::string line = command + "\n";
    CHECK(::write(commands_.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()));
    std::string answer;
    for (char byte = 0; ::read(answers_.get(), &byte, 1) == 1 && byte != '\n';) answer += byte;
    return answer;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd commands_;
  UniqueFd answers_;
};

// O_DIRECT: a write that is answered is on its chain, whatever the client buffers otherwise.
Result<std::shared_ptr<File>> OpenFor(Client& client, const std::string& path) {
  return client.OpenPath(path, O_RDWR | O_CREAT | O_DIRECT);
}

// "write FILE BLOCK" writes block BLOCK of the FILE-th path; "sync FILE"; "reopen FILE".
Status Obey(Client& client, const std::vector<std::string>& paths,
            std::vector<std::shared_ptr<File>>& files, const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  size_t number = 0;
  uint64_t block = 0;
  words >> verb >> number >> block;
  std::shared_ptr<File>& file = files.at(number);
  if (verb == "reopen") {
    file.reset();
    ASSIGN_OR_RETURN(file, OpenFor(client, paths.at(number)));
    return Status::Ok();
  }
  if (file == nullptr) return {Code::kBadHandle, "it is closed"};
  if (verb == "sync") return file->Sync();
  return file->Write(block * kBlock, PatternAt(block * kBlock, kBlock)).status();
}

int RunWriter(const std::string& meta_address, const std::vector<std::string>& paths) {
  ClientOptions options;
  options.meta_address = meta_address;
  auto client = Client::Connect(options);
  CHECK(client.ok(), client.status().ToString());
  std::vector<std::shared_ptr<File>> files;
  for (const std::string& path : paths) {
    auto file = OpenFor(**client, path);
    CHECK(file.ok(), path + ": " + file.status().ToString());
    files.push_back(*file);
  }
  for (std::string line; std::getline(std::cin, line);) {
    const Status done = Obey(**client, paths, files, line);
    std::cout << (done.ok() ? "ok" : done.ToString()) << std::endl;
  }
  return 0;
}

class ClusterSessionTest : public ClusterFixture {
 protected:
  void SetUp() override {
    ProcessCluster::Options options;
    options.session_renew = std::chrono::milliseconds(1000);
    options.session_lease = std::chrono::milliseconds(4000);
    StartCluster(options);
    if (cluster_ != nullptr) client_ = Connect();
  }

  uint64_t Length(const std::string& path) { return client_->StatPath(path)->size; }
  bool Grows(const std::string& path, uint64_t length) {
    return Eventually([&] { return Length(path) == length; }, kWait);
  }
  void ExpectPattern(const std::string& path, size_t blocks) {
    const auto file = Open(*client_, path, O_RDONLY);
    EXPECT_TRUE(ReadAll(*file, 0, blocks * kBlock) == PatternAt(0, blocks * kBlock));
  }

  std::unique_ptr<Client> client_;
};

TEST_F(ClusterSessionTest, AKilledClientsFilesGrowToWhatItsChainsHold) {
  WriterProcess writer(cluster_->meta_address(), {"/a", "/b"});
  for (int block = 0; block < 6; ++block) {
    ASSERT_EQ(writer.Do("write 0 " + std::to_string(block)), "ok");
  }
  ASSERT_EQ(writer.Do("write 1 0"), "ok");
  EXPECT_EQ(Length("/a"), 0u) << "it has synced nothing";
  writer.Kill();
  EXPECT_TRUE(Grows("/a", 6 * kBlock));
  EXPECT_TRUE(Grows("/b", kBlock));
  ExpectPattern("/a", 6);
}

TEST_F(ClusterSessionTest, ATruncateIsNotUndoneByTheEndOfAClientThatWroteBefore) {
  // Settled in this order: once the second has its length, the first one's turn is over.
  WriterProcess writer(cluster_->meta_address(), {"/cut", "/witness"});
  for (int block = 0; block < 6; ++block) {
    ASSERT_EQ(writer.Do("write 0 " + std::to_string(block)), "ok");
  }
  ASSERT_EQ(writer.Do("write 1 1"), "ok");
  writer.Kill();
  const auto file = Open(*client_, "/cut");
  ASSERT_TRUE(file->Truncate(kBlock + 100).ok());
  ASSERT_TRUE(Grows("/witness", 2 * kBlock));
  EXPECT_EQ(Length("/cut"), kBlock + 100);
  ASSERT_TRUE(file->Truncate(6 * kBlock).ok());
  std::vector<uint8_t> expected = PatternAt(0, kBlock + 100);
  expected.resize(6 * kBlock);
  EXPECT_TRUE(ReadAll(*file, 0, 6 * kBlock) == expected) << "nothing came back";
}

TEST_F(ClusterSessionTest, ARestartOfTheMetadataServiceGoesOnWithTheEnd) {
  WriterProcess writer(cluster_->meta_address(), {"/a"});
  ASSERT_EQ(writer.Do("write 0 0"), "ok");
  ASSERT_EQ(writer.Do("write 0 1"), "ok");
  writer.Kill();
  cluster_->KillMeta();
  ASSERT_TRUE(cluster_->StartMeta().ok());
  EXPECT_TRUE(Grows("/a", 2 * kBlock));
  ExpectPattern("/a", 2);
}

TEST_F(ClusterSessionTest, AServerThatIsAwayKeepsLengthsUnsettledUntilItIsBack) {
  WriterProcess writer(cluster_->meta_address(), {"/a"});
  // 4 MiB chunks: so that every server has one.
  constexpr uint64_t kBlocks = 60;
  for (uint64_t block = 0; block < kBlocks; block += 4) {
    ASSERT_EQ(writer.Do("write 0 " + std::to_string(block)), "ok");
  }
  ASSERT_EQ(writer.Do("write 0 " + std::to_string(kBlocks - 1)), "ok");
  cluster_->KillServer(1);
  writer.Kill();
  // Another one that ends meanwhile does not wait for it.
  {
    const auto other = Connect();
    ASSERT_TRUE(other->MkdirPath("/d").ok());
  }
  ASSERT_TRUE(cluster_->StartServer(1).ok());
  EXPECT_TRUE(Grows("/a", kBlocks * kBlock));
}

TEST_F(ClusterSessionTest, AFrozenClientComesBackWithANewSession) {
  WriterProcess writer(cluster_->meta_address(), {"/a"});
  ASSERT_EQ(writer.Do("write 0 0"), "ok");
  writer.Freeze();
  ASSERT_TRUE(Grows("/a", kBlock)) << "its end is over";
  writer.Thaw();
  // The first tries may be refused: it learns from that that its session is lost.
  ASSERT_TRUE(Eventually(
      [&] {
        return writer.Do("reopen 0") == "ok" && writer.Do("write 0 1") == "ok" &&
               writer.Do("sync 0") == "ok";
      },
      kWait));
  EXPECT_TRUE(Grows("/a", 2 * kBlock));
  ExpectPattern("/a", 2);
}

TEST_F(ClusterSessionTest, NothingOfAnEndedSessionTakesEffectAnyMore) {
  RawSession session(cluster_->meta_address());
  const auto file = session.Create("raw");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(*session.ReserveAppend(*file, 4096), 0u);
  EXPECT_EQ(*session.ReserveAppend(*file, 4096), 4096u);
  EXPECT_EQ(session.Write(*file, 0, std::string(4096, 'a'), 1, 1).ToString(), "Ok");
  EXPECT_EQ(session.Write(*file, 0, std::string(4096, 'b'), 1, 2).ToString(), "Ok");
  EXPECT_EQ(session.Write(*file, 0, std::string(4096, 'a'), 1, 1).code(), Code::kCancelled)
      << "a late duplicate";
  ASSERT_TRUE(Grows("/raw", 4096)) << "it is never renewed";
  EXPECT_EQ(session.Write(*file, 0, std::string(4096, 'b'), 1, 2).code(), Code::kFenced);
  EXPECT_EQ(session.Write(*file, 4096, std::string(4096, 'c'), 1, 3).code(), Code::kFenced);
  EXPECT_EQ(session.ReserveAppend(*file, 4096).status().code(), Code::kNoSession);
  EXPECT_EQ(Length("/raw"), 4096u);
  EXPECT_TRUE(ReadAll(*Open(*client_, "/raw", O_RDONLY), 0, 8192) ==
              std::vector<uint8_t>(4096, 'b'));
}

}  // namespace
}  // namespace sheaf::testing

int main(int argc, char** argv) {
  if (argc > 3 && std::string(argv[1]) == "--writer") {
    return sheaf::testing::RunWriter(argv[2], {argv + 3, argv + argc});
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
