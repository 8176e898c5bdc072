#pragma once

#include <pthread.h>

#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "common/guarded.h"
#include "common/status.h"
#include "fuse/libfuse.h"
#include "fuse/operations.h"
#include "fuse/options.h"

namespace sheaf::fuse {

// One mount, from mounting to unmounting.
//
//   ASSIGN_OR_RETURN(auto session, Session::Mount(options, &operations));
//   session->Run();       // serves until unmounted or stopped
//
// Run belongs to one thread; Stop and WaitUntilReady may be called from others.
class Session {
 public:
  // `options.directory` must be absolute and without symlinks. `operations` must outlive this.
  // Errors name the directory and what can be done.
  static Result<std::unique_ptr<Session>> Mount(const MountOptions& options,
                                                Operations* operations);
  // Unmounts what is still mounted.
  ~Session();

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Serves the kernel's requests until the directory is unmounted or Stop is called, then unmounts
  // and closes what was left open.
  Status Run();
  // Makes Run return; what is under way is answered first. Blocks until Run has seen it.
  // Takes SIGUSR1 of the process for itself.
  // REQUIRES: not on Run's thread nor on one that serves a request
  void Stop();
  // Waits for the kernel to agree on the connection; false when `timeout` passes or Run ends first.
  bool WaitUntilReady(std::chrono::milliseconds timeout);

  const std::string& directory() const { return options_.directory; }

 private:
  struct Deleter {
    void operator()(fuse_session* session) const { fuse_session_destroy(session); }
  };

  Session(const MountOptions& options, Operations* operations);
  Status Open();
  void Unmount();

  // The first call decides what WaitUntilReady answers.
  void SetReady(bool ready);

  const MountOptions options_;
  Operations* const operations_;
  std::once_flag ready_once_;
  std::promise<bool> ready_;
  std::shared_future<bool> is_ready_;
  std::promise<void> finished_;
  std::shared_future<void> is_finished_;
  Guarded<std::optional<pthread_t>> looping_;  // the thread in libfuse's loop
  std::unique_ptr<fuse_session, Deleter> session_;
  bool mounted_ = false;
};

// Whether `directory` can be mounted on: its absolute path without symlinks. Errors name it, what
// is wrong and the remedy.
Result<std::string> CheckMountPoint(const std::string& directory);

// Sends libfuse's own messages to our log; the last error is kept for Mount's.
void RouteLibfuseLog();

}  // namespace sheaf::fuse
