#include "common/daemon_signals.h"

#include <pthread.h>
#include <signal.h>

namespace sheaf {
namespace {

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

}  // namespace

DaemonSignals::DaemonSignals() {
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

const char* DaemonSignals::WaitForStop(const std::function<void()>& reload) const {
  const sigset_t signals = Signals();
  for (;;) {
    int number = 0;
    if (sigwait(&signals, &number) != 0) continue;
    if (number != SIGHUP) return number == SIGTERM ? "SIGTERM" : "SIGINT";
    reload();
  }
}

}  // namespace sheaf
