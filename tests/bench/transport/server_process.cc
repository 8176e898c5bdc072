#include "tests/bench/transport/server_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

extern char** environ;

namespace sheaf::bench {
namespace {

double ClockSeconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Result<std::string> ReadLine(int fd) {
  std::string line;
  char c = 0;
  while (read(fd, &c, 1) == 1) {
    if (c == '\n') return line;
    line += c;
  }
  return Status(Code::kUnavailable, "start server: it ended without announcing itself");
}

Result<std::array<UniqueFd, 2>> Pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe");
  return std::array<UniqueFd, 2>{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

Result<ServerProcess> ServerProcess::Start(const std::vector<std::string>& command,
                                           bool announces) {
  ASSIGN_OR_RETURN(auto input, Pipe());
  ASSIGN_OR_RETURN(auto output, Pipe());
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);

  ServerProcess process;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0].get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1].get(), STDOUT_FILENO);
  const int error =
      posix_spawnp(&process.pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::FromErrno(error, "start " + command[0]);
  process.input_ = std::move(input[1]);
  process.output_ = std::move(output[0]);
  output[1].Reset();
  if (announces) {
    ASSIGN_OR_RETURN(process.announced_, ReadLine(process.output_.get()));
  }
  return process;
}

ServerProcess::ServerProcess(ServerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      input_(std::move(other.input_)),
      output_(std::move(other.output_)),
      announced_(std::move(other.announced_)) {}

ServerProcess::~ServerProcess() {
  if (pid_ < 0) return;
  input_.Reset();
  if (announced_.empty()) kill(pid_, SIGTERM);  // one that does not look at its input
  waitpid(pid_, nullptr, 0);
}

double ServerProcess::CpuSeconds() const {
  clockid_t clock{};
  if (clock_getcpuclockid(pid_, &clock) != 0) return 0;
  return ClockSeconds(clock);
}

void AnnounceAndWait(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
  char c = 0;
  while (read(STDIN_FILENO, &c, 1) > 0) {
  }
}

double OwnCpuSeconds() { return ClockSeconds(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace sheaf::bench
