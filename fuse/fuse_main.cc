#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include "client/sheaf.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/process_metrics.h"
#include "fuse/features.h"
#include "fuse/mountinfo.h"
#include "fuse/operations.h"
#include "fuse/options.h"
#include "fuse/session.h"

// sheaf-fuse: mounts a Sheaf file system. This file is the wiring: command line, background,
// signals, and what is made of what.

namespace sheaf::fuse {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr std::chrono::seconds kReadyWait{60};
// Writing back dirty pages of shared mappings before unmounting ends after this.
constexpr std::chrono::seconds kSyncWait{20};

int Fail(const Status& status) {
  std::fprintf(stderr, "sheaf-fuse: error: %s\n", status.message().c_str());
  return status.code() == Code::kUsage ? kExitUsage : kExitFailure;
}

// The background process' way to say "mounted" to the one that started it, which waits for it, so
// that the mount is usable when the command returns and an error is its exit code.
class Background {
 public:
  // In the child: answers a Background. In the parent: does not return.
  static Result<Background> Start() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe");
    UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    const pid_t child = fork();
    if (child < 0) return Status::FromErrno(errno, "fork");
    if (child > 0) {
      writer.Reset();
      WaitForChild(child, reader.get());
    }
    setsid();
    return Background(std::move(writer));
  }

  // Lets the parent end well and leaves its terminal.
  void Ready() {
    if (!writer_.IsOpen()) return;
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null.IsOpen()) {
      for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
    }
    (void)!write(writer_.get(), "+", 1);
    writer_.Reset();
  }

  Background() = default;  // stays in the foreground

 private:
  explicit Background(UniqueFd writer) : writer_(std::move(writer)) {}

  [[noreturn]] static void WaitForChild(pid_t child, int reader) {
    char byte = 0;
    if (read(reader, &byte, 1) == 1) _exit(0);
    int status = 0;
    waitpid(child, &status, 0);  // it has printed why
    _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : kExitFailure);
  }

  UniqueFd writer_;
};

// Blocks the signals that end the mount, for this thread and all made after, so that one thread
// can wait for them.
sigset_t BlockSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return set;
}

// Starts `sync -f DIRECTORY` with our signals unblocked. Answers its pid, or 0.
pid_t StartSync(const std::string& directory) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const char* const arguments[] = {"sync", "-f", directory.c_str(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, arguments[0], nullptr, &attributes,
                                  const_cast<char* const*>(arguments), environ);
  posix_spawnattr_destroy(&attributes);
  return failed == 0 ? child : 0;
}

// Writes back what shared mappings have dirtied. In a process of its own: a thread of ours that
// waits for an answer of our own keeps the connection open when we are killed, and so waits for
// ever. Bounded: with the cluster gone each page takes its time to fail.
void SyncMount(const std::string& directory) {
  const pid_t child = StartSync(directory);
  if (child == 0) return LogWarn("unmount {}: cannot run sync", directory);
  const UniqueFd handle(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  pollfd ended{handle.get(), POLLIN, 0};
  const auto wait = std::chrono::milliseconds(kSyncWait);
  if (poll(&ended, 1, static_cast<int>(wait.count())) != 1) {
    LogWarn("unmount {}: dirty pages not written back in time", directory);
    kill(child, SIGKILL);
    return;  // it may wait in the kernel until the mount is gone
  }
  waitpid(child, nullptr, 0);
}

// What SIGHUP makes of the log: the configuration file's options, or the same ones with the file
// opened anew.
void Reload(const MountOptions& options) {
  if (options.config_file.empty()) return ReloadLog(options.log);
  MountOptions again;
  again.config_file = options.config_file;
  const Status status = ReadConfigFile(&again);
  ReloadLog(status.ok() ? Result<LogOptions>(again.log) : status);
}

// Unmounts on the first signal that is no reload; before there is a mount, ends the process. Ends
// when told to, by a signal of its own to itself.
class SignalWatcher {
 public:
  SignalWatcher(const sigset_t& signals, const MountOptions& options)
      : signals_(signals), options_(options), thread_([this] { Wait(); }) {}
  ~SignalWatcher() {
    ended_.store(true);
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

  // REQUIRES: the session outlives this, or is taken back by null before
  void Watch(Session* session) { session_.store(session); }

 private:
  void Wait() {
    int signal = 0;
    while (sigwait(&signals_, &signal) == 0 && !ended_.load()) {
      if (!IsReload(signal)) return Unmount(signal);
      Reload(options_);
    }
  }

  // Where there is nothing to reload, SIGHUP says what it says to any program in a terminal: that
  // the terminal is gone.
  bool IsReload(int signal) const {
    return signal == SIGHUP && !(options_.log.file.empty() && options_.config_file.empty());
  }

  void Unmount(int signal) {
    Session* session = session_.load();
    if (session == nullptr) _exit(kExitFailure);
    LogInfo("signal {}: unmounting {}", signal, session->directory());
    SyncMount(session->directory());
    session->Stop();
  }

  const sigset_t signals_;
  const MountOptions options_;
  std::atomic<bool> ended_{false};
  std::atomic<Session*> session_{nullptr};
  std::thread thread_;
};

// Ends the scrapes of what goes now; what goes counts to its end.
class ServedUntilHere {
 public:
  explicit ServedUntilHere(Metrics& metrics) : metrics_(metrics) {}
  ~ServedUntilHere() { metrics_.StopServing(); }
  ServedUntilHere(const ServedUntilHere&) = delete;
  ServedUntilHere& operator=(const ServedUntilHere&) = delete;

 private:
  Metrics& metrics_;
};

// What waits for the kernel's first answer: read-ahead, and the parent process.
void FinishMounting(Session* session, const MountOptions& options, Background* background) {
  if (!session->WaitUntilReady(kReadyWait)) return;
  // Answered only after the kernel has taken INIT's reply, which would undo the read-ahead.
  struct stat ignored {};
  (void)stat(options.directory.c_str(), &ignored);
  Status status = SetReadAhead(options.directory, options.read_ahead_kib);
  if (!status.ok()) {
    LogWarn("sequential reads will be slower, read-ahead stays at the kernel's default: {}",
            status.ToString());
  }
  LogInfo("mounted {} on {}", options.meta_address, options.directory);
  background->Ready();
}

Status Serve(const MountOptions& options, const sigset_t& signals, Background* background) {
  Metrics metrics;  // outlives all that counts
  ClientOptions client_options;
  client_options.metrics = &metrics;
  client_options.meta_address = options.meta_address;
  client_options.meta_timeout = options.meta_timeout;
  client_options.data_timeout = options.data_timeout;
  client_options.write_behind_bytes = size_t{options.write_behind_mib} << 20;
  client_options.write_behind_delay = options.write_behind;
  client_options.read_ahead_bytes = 0;  // the kernel reads ahead
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof host - 1);
  client_options.description =
      std::string(host) + " sheaf-fuse " + std::to_string(getpid()) + " " + options.directory;
  auto watcher = std::make_unique<SignalWatcher>(signals, options);
  ASSIGN_OR_RETURN(const auto client, Client::Connect(client_options));
  Operations operations(client.get(), options, &metrics, &Clock::System());
  std::unique_ptr<Session> session;
  const ServedUntilHere served(metrics);
  AddProcessMetrics(metrics);
  if (!options.metrics_address.empty()) RETURN_IF_ERROR(metrics.Serve(options.metrics_address));
  ASSIGN_OR_RETURN(session, Session::Mount(options, &operations));

  watcher->Watch(session.get());
  std::thread finisher([&] { FinishMounting(session.get(), options, background); });
  Status status = session->Run();
  watcher.reset();
  finisher.join();
  LogInfo("unmounted {}", options.directory);
  return status;
}

Status Prepare(MountOptions* options) {
  ASSIGN_OR_RETURN(options->directory, CheckMountPoint(options->directory));
  // A process in the background is in another directory.
  for (std::string* file : {&options->config_file, &options->log.file}) {
    if (!file->empty()) *file = std::filesystem::absolute(*file).string();
  }
  if (!options->config_file.empty()) RETURN_IF_ERROR(ReadConfigFile(options));
  return Status::Ok();
}

int Main(int argc, char** argv) {
  auto line = ParseCommandLine({argv + 1, argv + argc});
  if (!line.ok()) return Fail(line.status());
  if (line->action != CommandLine::Action::kMount) {
    std::fputs(line->text.c_str(), stdout);
    return 0;
  }
  MountOptions options = line->options;
  if (Status status = Prepare(&options); !status.ok()) return Fail(status);

  // Before any thread exists: a fork keeps only its own.
  Background background;
  if (!options.foreground) {
    auto started = Background::Start();
    if (!started.ok()) return Fail(started.status());
    background = std::move(*started);
    if (chdir("/") != 0) return Fail(Status::FromErrno(errno, "chdir /"));
  }
  // Before the first thread, which is the log's: all leave signals to the watcher.
  const sigset_t signals = BlockSignals();
  if (Status status = InitLog(options.log); !status.ok()) return Fail(status);
  RouteLibfuseLog();

  Status status = Serve(options, signals, &background);
  FlushLog();
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace sheaf::fuse

int main(int argc, char** argv) { return sheaf::fuse::Main(argc, argv); }
