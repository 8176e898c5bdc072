#include "client/cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sheaf::cli {
namespace {

constexpr size_t kLastLines = 12;
constexpr std::chrono::milliseconds kKillPatience{5000};

// By number: glibc 2.36 declares neither for C++.
UniqueFd OpenPidFd(pid_t pid) { return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  std::ifstream file(path, std::ios::binary);
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  return text.str();
}

// What the child needs, laid out before fork: between fork and exec it may not take memory.
struct Launch {
  std::vector<char*> argv;
  UniqueFd pid_file, output, null, failure_read, failure_write;
};

Result<UniqueFd> OpenFor(const std::string& path, int flags) {
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "open " + path);
  return fd;
}

Result<Launch> Prepare(const Daemon& daemon) {
  Launch launch;
  launch.argv.push_back(const_cast<char*>(daemon.binary.c_str()));
  for (const std::string& each : daemon.arguments) {
    launch.argv.push_back(const_cast<char*>(each.c_str()));
  }
  launch.argv.push_back(nullptr);
  ASSIGN_OR_RETURN(launch.pid_file, OpenFor(daemon.pid_file, O_WRONLY | O_CREAT | O_TRUNC));
  ASSIGN_OR_RETURN(launch.output, OpenFor(daemon.output_file, O_WRONLY | O_CREAT | O_APPEND));
  ASSIGN_OR_RETURN(launch.null, OpenFor("/dev/null", O_RDONLY));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe");
  launch.failure_read.Reset(ends[0]);
  launch.failure_write.Reset(ends[1]);
  return launch;
}

// In the child. Only calls that are safe after fork in a program with threads.
[[noreturn]] void BecomeDaemon(const Launch& launch) {
  setsid();
  char digits[16];
  char* at = digits + sizeof digits;
  *--at = '\n';
  for (pid_t left = getpid(); left > 0; left /= 10) *--at = static_cast<char>('0' + left % 10);
  const size_t size = static_cast<size_t>(digits + sizeof digits - at);
  signal(SIGPIPE, SIG_DFL);
  if (write(launch.pid_file.get(), at, size) == static_cast<ssize_t>(size) && chdir("/") == 0 &&
      dup2(launch.null.get(), 0) == 0 && dup2(launch.output.get(), 1) == 1 &&
      dup2(launch.output.get(), 2) == 2) {
    execv(launch.argv[0], launch.argv.data());
  }
  const int error = errno;
  if (write(launch.failure_write.get(), &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

bool IsThatDaemon(pid_t pid, const Daemon& daemon) {
  const std::string proc = "/proc/" + std::to_string(pid);
  std::error_code failed;
  std::string exe = std::filesystem::read_symlink(proc + "/exe", failed).filename().string();
  if (failed) return false;
  // A binary that was built anew since.
  const std::string deleted = " (deleted)";
  if (exe.ends_with(deleted)) exe.resize(exe.size() - deleted.size());
  if (exe != std::filesystem::path(daemon.binary).filename().string()) return false;
  std::istringstream arguments(ReadFile(proc + "/cmdline"));
  for (std::string each; std::getline(arguments, each, '\0');) {
    if (each == daemon.arguments.back()) return true;
  }
  return false;
}

std::string LastLines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::string out;
  for (size_t i = lines.size() - std::min(lines.size(), kLastLines); i < lines.size(); ++i) {
    out += "    " + lines[i] + "\n";
  }
  return out;
}

}  // namespace

Result<Process> Process::Start(const Daemon& daemon) {
  ASSIGN_OR_RETURN(Launch launch, Prepare(daemon));
  const pid_t pid = fork();
  if (pid < 0) return Status::FromErrno(errno, "start " + daemon.binary);
  if (pid == 0) BecomeDaemon(launch);
  launch.failure_write.Reset();
  int error = 0;
  // Ends empty when exec has closed the other end.
  if (read(launch.failure_read.get(), &error, sizeof error) == sizeof error) {
    waitpid(pid, nullptr, 0);
    return Status::FromErrno(error, "start " + daemon.binary);
  }
  UniqueFd fd = OpenPidFd(pid);
  if (!fd.IsOpen()) return Status::FromErrno(errno, "watch " + daemon.binary);
  return Process(pid, std::move(fd));
}

std::optional<Process> Process::Find(const Daemon& daemon) {
  pid_t pid = 0;
  std::ifstream(daemon.pid_file) >> pid;
  if (pid <= 0) return std::nullopt;
  // Held first, looked at then: what was looked at is what is held.
  UniqueFd fd = OpenPidFd(pid);
  if (!fd.IsOpen() || !IsThatDaemon(pid, daemon)) return std::nullopt;
  Process process(pid, std::move(fd));
  if (!process.Running()) return std::nullopt;
  return process;
}

bool Process::WaitForEnd(std::chrono::milliseconds timeout) const {
  pollfd wait{fd_.get(), POLLIN, 0};
  return poll(&wait, 1, static_cast<int>(timeout.count())) == 1;
}

void Process::Signal(int number) const {
  // Fails only where the process has ended, which is what is wanted then.
  syscall(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0);
}

std::string Process::HowItEnded() const {
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return "an unknown end";
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

void Stop(const Process& process, const std::string& name, std::chrono::milliseconds patience) {
  process.Signal(SIGTERM);
  if (process.WaitForEnd(patience)) return;
  std::fprintf(stderr, "%s (pid %d) did not stop within %lld s: killing it\n", name.c_str(),
               process.pid(), static_cast<long long>(patience.count() / 1000));
  process.Signal(SIGKILL);
  process.WaitForEnd(kKillPatience);
}

std::string LastWords(const Daemon& daemon, size_t output_start) {
  const std::string output = ReadFile(daemon.output_file);
  std::string words = LastLines(output.substr(std::min(output_start, output.size())));
  const std::string log = LastLines(ReadFile(daemon.log_file));
  if (!log.empty()) words += "  last lines of " + daemon.log_file + ":\n" + log;
  return words;
}

Result<std::string> FindBinary(const std::string& name) {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (failed) return Status(Code::kIo, "find " + name + ": /proc/self/exe: " + failed.message());
  const std::string path = (self.parent_path() / name).string();
  if (access(path.c_str(), X_OK) == 0) return path;
  return Status(Code::kNotFound, "find " + name + ": no program " + path +
                                     "; build or install it beside the sheaf command");
}

Result<std::string> RunTool(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe");
  UniqueFd output(ends[0]), input(ends[1]);
  std::vector<char*> argv;
  for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return Status::FromErrno(errno, "start " + arguments[0]);
  if (pid == 0) {
    dup2(input.get(), 1);
    dup2(input.get(), 2);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  input.Reset();
  std::string text;
  char buffer[512];
  for (ssize_t got; (got = read(output.get(), buffer, sizeof buffer)) > 0;) text.append(buffer, got);
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && text.empty()) text = "not installed";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return Status(Code::kIo, arguments[0] + ": " + text);
}

}  // namespace sheaf::cli
