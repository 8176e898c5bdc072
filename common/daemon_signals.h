#pragma once

#include <functional>

namespace sheaf {

// The signals that a daemon waits for: SIGTERM and SIGINT end it, SIGHUP reloads its log.
// Made in main before the first thread, so that every thread leaves them to WaitForStop.
class DaemonSignals {
 public:
  // Blocks them in this thread and all made after it; ignores SIGPIPE.
  DaemonSignals();

  // Runs `reload`, on this thread, for each SIGHUP, until a signal that ends the daemon comes;
  // answers its name.
  const char* WaitForStop(const std::function<void()>& reload) const;
};

}  // namespace sheaf
