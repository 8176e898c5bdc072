#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/status.h"

namespace sheaf::cli {

// A daemon as `sheaf up` runs it: how to start it, and where it leaves its traces.
struct Daemon {
  std::string name;                    // "meta", "storage-0", "mount"
  std::string binary;                  // absolute path
  std::vector<std::string> arguments;  // the last one tells it from others of its kind
  std::string pid_file;
  std::string output_file;             // standard output and error
  std::string log_file;                // the daemon's own log
};

// A process held by a descriptor, so that a signal can never reach a later process that was given
// the same number.
class Process {
 public:
  // In a session of its own, in the root directory, with standard input from /dev/null. It writes
  // the pid file before it becomes the daemon. Errors name the binary.
  static Result<Process> Start(const Daemon& daemon);
  // The process that the daemon's pid file names, if it runs and is that daemon: the executable's
  // name and the last argument are compared.
  static std::optional<Process> Find(const Daemon& daemon);

  pid_t pid() const { return pid_; }
  bool Running() const { return !WaitForEnd(std::chrono::milliseconds(0)); }
  // Whether it has ended within `timeout`.
  bool WaitForEnd(std::chrono::milliseconds timeout) const;
  void Signal(int number) const;
  // Of a child that has ended: "exit code 1", "signal 9".
  std::string HowItEnded() const;

 private:
  Process(pid_t pid, UniqueFd fd) : pid_(pid), fd_(std::move(fd)) {}

  pid_t pid_ = 0;
  UniqueFd fd_;
};

// SIGTERM, then SIGKILL with a line on standard error when it takes longer than `patience`.
void Stop(const Process& process, const std::string& name, std::chrono::milliseconds patience);

// The end of what a daemon said: its output since `output_start` and its log, indented.
std::string LastWords(const Daemon& daemon, size_t output_start);

// The daemon binary of that name beside this program. kNotFound names the path.
Result<std::string> FindBinary(const std::string& name);

// Runs a short helper to its end and answers what it wrote; any exit code but 0 makes that the
// error.
Result<std::string> RunTool(const std::vector<std::string>& arguments);

}  // namespace sheaf::cli
