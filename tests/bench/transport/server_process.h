#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/fd.h"
#include "common/status.h"

namespace sheaf::bench {

// A server in a process of its own, so that its CPU time is its own. It is told to end by the end
// of its standard input, which also comes when this process dies.
class ServerProcess {
 public:
  // Runs `command`. With `announces`, waits for its first line of output.
  static Result<ServerProcess> Start(const std::vector<std::string>& command, bool announces);
  ServerProcess(ServerProcess&& other) noexcept;
  ServerProcess& operator=(ServerProcess&&) = delete;
  ~ServerProcess();

  const std::string& announced() const { return announced_; }
  // CPU seconds, user and system, of all its threads so far.
  double CpuSeconds() const;

 private:
  ServerProcess() = default;
  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
  std::string announced_;
};

// The server's side: prints `line`, then returns at the end of standard input.
void AnnounceAndWait(const std::string& line);

// CPU seconds of this process so far.
double OwnCpuSeconds();

}  // namespace sheaf::bench
