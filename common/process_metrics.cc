#include "common/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/version.h"

namespace sheaf {
namespace {

double CpuSeconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

double ResidentBytes() {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;  // the second number
  return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenFiles() {
  std::error_code failed;
  double count = 0;
  for (std::filesystem::directory_iterator each("/proc/self/fd", failed), end;
       !failed && each != end; each.increment(failed)) {
    ++count;
  }
  return count;
}

double MaxFiles() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

// Seconds since 1970: field 22 of /proc/self/stat counts clock ticks since boot.
double StartSeconds() {
  std::string line;
  std::getline(std::ifstream("/proc/self/stat"), line);
  // Fields after the command's name, which may hold anything, in parentheses.
  size_t at = line.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = line.find(' ', at + 1);
  if (at == std::string::npos) return 0;
  const double ticks = std::strtod(line.c_str() + at, nullptr);
  timespec boot{}, now{};
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec - boot.tv_sec) +
         ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

void AddProcessMetrics(Metrics& metrics) {
  metrics.AddCallback("process_cpu_seconds_total", "User and system CPU time spent", {},
                      CpuSeconds);
  metrics.AddCallback("process_resident_memory_bytes", "Resident memory", {}, ResidentBytes);
  metrics.AddCallback("process_open_fds", "Open file descriptors", {}, OpenFiles);
  metrics.AddCallback("process_max_fds", "Most file descriptors it may open", {}, MaxFiles);
  const double started = StartSeconds();
  metrics.AddCallback("process_start_time_seconds", "Start, since 1970-01-01 UTC", {},
                      [started] { return started; });
  metrics
      .AddGauge("sheaf_build_info", "1; the label says which release runs",
                {{"version", Version()}})
      .Set(1);
}

}  // namespace sheaf
