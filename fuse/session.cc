#include "fuse/session.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/log.h"

namespace sheaf::fuse {
namespace {

// What a worker thread keeps of its own; libfuse ends idle ones above this.
constexpr unsigned kIdleThreadsMax = 16;

// Set where libfuse mounts, which is one thread at a time.
thread_local std::string last_libfuse_error;

// Interrupts the loop's sleep (Session::Stop) and does nothing else.
constexpr int kWakeSignal = SIGUSR1;
constexpr std::chrono::milliseconds kWakeEvery{10};

void CatchWakeSignal() {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART, so that the wait ends
  sigaction(kWakeSignal, &action, nullptr);
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, kWakeSignal);
  pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
}

std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

void LogFromLibfuse(enum fuse_log_level level, const char* format, va_list args) {
  char text[1024];
  vsnprintf(text, sizeof text, format, args);
  const std::string line = Trimmed(text);
  if (level <= FUSE_LOG_ERR) last_libfuse_error = line;
  if (level <= FUSE_LOG_ERR) {
    LogWarn("libfuse: {}", line);
  } else {
    LogDebug("libfuse: {}", line);
  }
}

// libfuse's argument vector; frees what libfuse put in it.
class Arguments {
 public:
  explicit Arguments(const std::string& options) {
    fuse_opt_add_arg(&args_, "sheaf-fuse");
    fuse_opt_add_arg(&args_, "-o");
    fuse_opt_add_arg(&args_, options.c_str());
  }
  ~Arguments() { fuse_opt_free_args(&args_); }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  fuse_args* get() { return &args_; }

 private:
  fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

}  // namespace

void RouteLibfuseLog() { fuse_set_log_func(LogFromLibfuse); }

Result<std::string> CheckMountPoint(const std::string& directory) {
  std::unique_ptr<char, decltype(&std::free)> path(realpath(directory.c_str(), nullptr),
                                                   &std::free);
  if (path == nullptr) {
    const int err = errno;
    std::string cause = "mount point '" + directory + "': " + std::strerror(err);
    if (err == ENOENT) cause += "; create the directory first";
    if (err == ENOTCONN) {
      cause += "; an earlier mount lost its daemon: run fusermount3 -u '" + directory + "'";
    }
    return Status(Status::FromErrno(err, "").code(), cause);
  }
  struct stat attr {};
  if (stat(path.get(), &attr) != 0) {
    const int err = errno;
    std::string cause = "mount point '" + directory + "': " + std::strerror(err);
    if (err == ENOTCONN) {
      cause += "; an earlier mount lost its daemon: run fusermount3 -u '" + directory + "'";
    }
    return Status(Status::FromErrno(err, "").code(), cause);
  }
  if (!S_ISDIR(attr.st_mode)) {
    return Status(Code::kNotDirectory,
                  "mount point '" + directory + "': not a directory; give one that is");
  }
  return std::string(path.get());
}

Session::Session(const MountOptions& options, Operations* operations)
    : options_(options),
      operations_(operations),
      is_ready_(ready_.get_future().share()),
      is_finished_(finished_.get_future().share()) {}

Result<std::unique_ptr<Session>> Session::Mount(const MountOptions& options,
                                                Operations* operations) {
  std::unique_ptr<Session> session(new Session(options, operations));
  RETURN_IF_ERROR(session->Open());
  return session;
}

Status Session::Open() {
  Arguments arguments(KernelOptions(options_));
  const fuse_lowlevel_ops& table = Operations::Table();
  last_libfuse_error.clear();
  session_.reset(fuse_session_new(arguments.get(), &table, sizeof table, operations_));
  if (session_ == nullptr) {
    return {Code::kInvalid, "mount " + options_.directory + ": " + last_libfuse_error};
  }
  operations_->SetOnInit([this] { SetReady(true); });
  errno = 0;
  if (fuse_session_mount(session_.get(), options_.directory.c_str()) != 0) {
    std::string cause = last_libfuse_error.empty() ? std::strerror(errno) : last_libfuse_error;
    if (access("/dev/fuse", F_OK) != 0) cause += "; /dev/fuse is missing: run modprobe fuse";
    return {Code::kIo, "mount " + options_.directory + ": " + cause};
  }
  mounted_ = true;
  operations_->SetInvalidator([this](InodeId inode) {
    // An offset below zero leaves pages, and so their locks, alone.
    fuse_lowlevel_notify_inval_inode(session_.get(), inode.value(), -1, 0);
  });
  return Status::Ok();
}

Session::~Session() { Unmount(); }

void Session::SetReady(bool ready) {
  std::call_once(ready_once_, [&] { ready_.set_value(ready); });
}

void Session::Unmount() {
  if (!mounted_) return;
  mounted_ = false;
  fuse_session_unmount(session_.get());
}

Status Session::Run() {
  struct Free {
    void operator()(fuse_loop_config* config) const { fuse_loop_cfg_destroy(config); }
  };
  std::unique_ptr<fuse_loop_config, Free> config(fuse_loop_cfg_create());
  fuse_loop_cfg_set_clone_fd(config.get(), 1);
  fuse_loop_cfg_set_max_threads(config.get(), options_.max_threads);
  fuse_loop_cfg_set_idle_threads(config.get(), std::min(kIdleThreadsMax, options_.max_threads));

  CatchWakeSignal();
  *looping_.Lock() = pthread_self();
  const int result = fuse_session_loop_mt(session_.get(), config.get());
  looping_.Lock()->reset();
  Unmount();
  SetReady(false);
  finished_.set_value();
  operations_->SetInvalidator(nullptr);
  operations_->CloseAll();
  if (result < 0) return Status::FromErrno(-result, "serve " + options_.directory);
  return Status::Ok();
}

void Session::Stop() {
  fuse_session_exit(session_.get());
  // The loop sleeps on a semaphore and looks at the flag when a signal wakes it; one that comes
  // before it sleeps is lost, so they are repeated until it has ended.
  while (is_finished_.wait_for(kWakeEvery) != std::future_status::ready) {
    auto thread = looping_.Lock();
    if (thread->has_value()) pthread_kill(**thread, kWakeSignal);
  }
}

bool Session::WaitUntilReady(std::chrono::milliseconds timeout) {
  return is_ready_.wait_for(timeout) == std::future_status::ready && is_ready_.get();
}

}  // namespace sheaf::fuse
