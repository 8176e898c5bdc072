#include "tests/bench/storage/fio.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace sheaf::bench {
namespace {

constexpr uint64_t kMiB = 1 << 20;

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "engine_bench: error: %s\n", message.c_str());
  std::exit(1);
}

}  // namespace

Fio::Fio(std::string directory, uint64_t mib) : directory_(std::move(directory)), mib_(mib) {
  Run("--rw=write --bs=1M --iodepth=16", kMiB);
}

// fio's own --fdatasync=N is no way to a given number: with several writes in flight 3.33 syncs far
// more often than every N writes. A log of what to do it follows to the letter.
void Fio::WriteLog(const std::string& path, uint64_t syncs) const {
  std::ofstream log(path);
  log << "fio version 2 iolog\n" << DataFile() << " add\n" << DataFile() << " open\n";
  uint64_t synced = 0;
  for (uint64_t i = 0; i < mib_; ++i) {
    log << DataFile() << " write " << i * kMiB << " " << kMiB << "\n";
    for (; synced < (i + 1) * syncs / mib_; ++synced) log << DataFile() << " datasync 0 0\n";
  }
  log << DataFile() << " close\n";
  if (!log.flush()) Die("write " + path + ": is the disk full?");
}

Figure Fio::Write(uint64_t syncs) {
  const std::string log = directory_ + "/fio.log";
  WriteLog(log, syncs);
  return Run("--iodepth=16 --read_iolog=" + log, kMiB);
}

Figure Fio::Read() { return Run("--rw=read --bs=1M --iodepth=16", kMiB); }

Figure Fio::RandomRead(uint64_t count) {
  return Run("--rw=randread --bs=4k --iodepth=32 --number_ios=" + std::to_string(count), 4096);
}

Figure Fio::Run(const std::string& options, uint64_t io_bytes) {
  const std::string output = directory_ + "/fio.json";
  const std::string command =
      "fio --name=bench --filename=" + DataFile() + " --size=" + std::to_string(mib_) +
      "M --ioengine=io_uring --direct=1 --overwrite=1 --randrepeat=0 --output-format=json"
      " --output=" +
      output + " " + options + " >/dev/null 2>&1";
  const double cpu = CpuSeconds(RUSAGE_CHILDREN);
  if (std::system(command.c_str()) != 0) Die("fio failed: " + command + "; is it installed?");
  std::ifstream file(output);
  const auto job = nlohmann::json::parse(file)["jobs"][0];
  const bool is_write = job["write"]["io_bytes"].get<uint64_t>() > 0;
  const auto& side = is_write ? job["write"] : job["read"];
  Figure figure;
  figure.seconds = side["runtime"].get<double>() / 1000;
  // Of what completed within that time: the last transfers of a log do not.
  figure.per_second =
      side["io_bytes"].get<double>() / static_cast<double>(io_bytes) / figure.seconds;
  figure.cpu_s = CpuSeconds(RUSAGE_CHILDREN) - cpu;
  figure.syncs = job["sync"]["lat_ns"].value("N", uint64_t{0});
  return figure;
}

}  // namespace sheaf::bench
