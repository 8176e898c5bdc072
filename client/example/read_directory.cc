// Reads every regular file of a directory with several threads, as a loader's workers do:
//
//   read-directory HOST:PORT DIRECTORY [THREADS]
//
// and prints how many files and bytes there were, how fast they came, and one checksum over all of
// them: the sum of each file's CRC-32 (that of zlib and gzip), which does not depend on the order.
// Exit code 0: every file was read to its end; 1: something failed; 2: wrong usage.

#include <fcntl.h>
#include <sheaf/sheaf.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr unsigned kMaxThreads = 256;
constexpr uint32_t kPageEntries = 1024;  // directory entries a call
constexpr size_t kBlockBytes = 4 << 20;  // a chunk: one call to one server

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320u : 0);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

class Crc32 {
 public:
  void Add(std::span<const uint8_t> bytes) {
    for (uint8_t byte : bytes) state_ = (state_ >> 8) ^ kCrcTable[(state_ ^ byte) & 0xff];
  }
  uint32_t value() const { return ~state_; }

 private:
  uint32_t state_ = 0xffffffff;
};

struct Totals {
  std::atomic<uint64_t> files = 0;
  std::atomic<uint64_t> bytes = 0;
  std::atomic<uint64_t> checksum = 0;
};

// The inodes of the directory's regular files, a page at a time.
sheaf::Result<std::vector<sheaf::InodeId>> ListFiles(sheaf::Client& client,
                                                     const sheaf::Credentials& who,
                                                     const std::string& path) {
  auto directory = client.StatPath(path);
  if (!directory.ok()) return directory.status();
  std::vector<sheaf::InodeId> files;
  uint64_t cookie = 0;
  for (;;) {
    auto page = client.ReadDirectory(who, directory->inode, cookie, kPageEntries, false);
    if (!page.ok()) return page.status();
    for (const sheaf::DirectoryEntry& entry : page->entries) {
      if (S_ISREG(entry.type)) files.push_back(entry.inode);
      cookie = entry.cookie;
    }
    if (page->end) return files;
  }
}

// One file to its end.
sheaf::Status ReadFile(sheaf::Client& client, const sheaf::Credentials& who, sheaf::InodeId inode,
                       std::vector<uint8_t>& block, Totals& totals) {
  auto file = client.Open(who, inode, O_RDONLY);
  if (!file.ok()) return file.status();
  Crc32 crc;
  uint64_t offset = 0;
  for (;;) {
    auto size = (*file)->Read(offset, block);
    if (!size.ok()) return size.status();
    crc.Add(std::span(block).first(*size));
    offset += *size;
    if (*size < block.size()) break;  // the end of the file
  }
  totals.files += 1;
  totals.bytes += offset;
  totals.checksum += crc.value();
  return (*file)->Close();
}

// All of them, each thread taking the next that nobody has. The first error ends the others.
sheaf::Status ReadAll(sheaf::Client& client, const sheaf::Credentials& who,
                      const std::vector<sheaf::InodeId>& files, unsigned threads, Totals& totals) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  sheaf::Status first_error;
  const auto work = [&] {
    std::vector<uint8_t> block(kBlockBytes);
    while (!failed) {
      const size_t mine = next++;
      if (mine >= files.size()) return;
      const sheaf::Status status = ReadFile(client, who, files[mine], block, totals);
      if (status.ok()) continue;
      std::lock_guard lock(mutex);
      if (!failed.exchange(true)) first_error = status;
    }
  };
  std::vector<std::jthread> workers;
  for (unsigned i = 0; i < threads; ++i) workers.emplace_back(work);
  workers.clear();  // joins
  return first_error;
}

void Print(const Totals& totals, double seconds) {
  const double mib = static_cast<double>(totals.bytes) / (1 << 20);
  std::printf("files     %llu\n", static_cast<unsigned long long>(totals.files));
  std::printf("bytes     %llu\n", static_cast<unsigned long long>(totals.bytes));
  std::printf("files/s   %.1f\n", static_cast<double>(totals.files) / seconds);
  std::printf("MiB/s     %.1f\n", mib / seconds);
  std::printf("checksum  %llu\n", static_cast<unsigned long long>(totals.checksum));
}

int Fail(const sheaf::Status& status) {
  std::fprintf(stderr, "read-directory: error: %s\n", status.ToString().c_str());
  return 1;
}

int Run(const std::string& meta, const std::string& path, unsigned threads) {
  auto client = sheaf::Client::Connect({.meta_address = meta});
  if (!client.ok()) return Fail(client.status());
  const sheaf::Credentials who = sheaf::Credentials::OfProcess();
  const auto start = std::chrono::steady_clock::now();
  const auto files = ListFiles(**client, who, path);
  if (!files.ok()) return Fail(files.status());
  Totals totals;
  const sheaf::Status status = ReadAll(**client, who, *files, threads, totals);
  if (!status.ok()) return Fail(status);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  Print(totals, took.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned threads = 8;
  bool usable = argc == 3 || argc == 4;
  if (argc == 4) {
    const std::string text = argv[3];
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, threads);
    usable = error == std::errc() && end == last && threads >= 1 && threads <= kMaxThreads;
  }
  if (!usable) {
    std::fprintf(stderr, "usage: read-directory HOST:PORT DIRECTORY [THREADS, 1 to %u]\n",
                 kMaxThreads);
    return 2;
  }
  return Run(argv[1], argv[2], threads);
}
