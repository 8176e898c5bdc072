#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/cli/tree.h"
#include "common/guarded.h"

namespace sheaf::cli {

// Copies a tree with many threads: one walks and makes directories, the others copy files, large
// ones in pieces. What cannot be copied is reported and left out; the rest goes on.
//
// Invariants
// 1. A file gets its attributes after its last byte, a directory after all that is in it.
// 2. At most kMaxQueued pieces wait; the walker waits for room.
// 3. Blocks of zeros are not written: what was sparse stays so, and the size is set at the end.
// 4. Small files go many at a time where the target takes them so: a thread holds at most
//    kBundleBytes of them.
class Copier {
 public:
  struct Progress {
    std::atomic<uint64_t> files_found{0}, files_done{0}, bytes_found{0}, bytes_done{0};
    std::atomic<uint64_t> directories{0}, failures{0};
  };

  // `on_failure` is called from any thread, one at a time, with a line for each failure.
  Copier(Tree& from, Tree& to, int threads, std::function<void(const std::string&)> on_failure);
  ~Copier();

  // `item` in `from` becomes `name` in `to`; blocks until all is done. Call once.
  void Run(const Tree::Directory& from, const Tree::Item& item, const Tree::Directory& to,
           const std::string& name);

  const Progress& progress() const { return progress_; }

 private:
  static constexpr size_t kMaxQueued = 1024;
  static constexpr uint64_t kPiece = uint64_t{64} << 20;
  static constexpr size_t kBlock = size_t{4} << 20;  // one call's bytes, one buffer a thread

  // Small files: what goes in bundles, and how much of it.
  static constexpr uint64_t kSmallFile = uint64_t{256} << 10;
  static constexpr uint64_t kBundleBytes = uint64_t{4} << 20;
  static constexpr size_t kBundleFiles = 256;

  struct FileJob;
  struct Bundle {
    std::vector<std::shared_ptr<FileJob>> jobs;
    uint64_t bytes = 0;
  };
  struct Piece {
    std::shared_ptr<FileJob> job;
    std::shared_ptr<Bundle> bundle;  // or this
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  struct Queue {
    std::deque<Piece> pieces;
    bool closed = false;
  };
  // What waits until all files are there.
  struct FinishedDirectory {
    Tree::Directory parent;
    std::string name;
    FileAttr attr;
  };
  struct LinkJob {
    Tree::Directory first_parent;
    std::string first_name;
    Tree::Directory parent;
    std::string name;
  };

  void CopyItem(const Tree::Directory& from, const Tree::Item& item, const Tree::Directory& to,
                const std::string& name);
  void CopyDirectory(const Tree::Directory& from, const Tree::Item& item,
                     const Tree::Directory& to, const std::string& name);
  void QueueFile(const Tree::Directory& from, const Tree::Item& item, const Tree::Directory& to,
                 const std::string& name);
  Status CopyOther(const Tree::Directory& from, const Tree::Item& item, const Tree::Directory& to,
                   const std::string& name);
  void AddToBundle(std::shared_ptr<FileJob> job);
  void PushBundle();
  void Push(Piece piece);
  void Work();
  void CopyOnePiece(const Piece& piece, std::span<uint8_t> buffer);
  void CopyBundle(Bundle& bundle, std::span<uint8_t> buffer);
  Status ReadWhole(FileJob& job, std::span<uint8_t> into);
  Status CopyPiece(const Piece& piece, std::span<uint8_t> buffer);
  static Status BecameShorter(const FileJob& job, uint64_t size);
  Status OpenJob(FileJob& job);
  void FinishFile(FileJob& job);
  void Fail(const Status& status);

  Tree& from_;
  Tree& to_;
  const int threads_;
  const std::function<void(const std::string&)> on_failure_;
  Progress progress_;
  std::mutex reporting_;

  // The walker's alone.
  std::vector<FinishedDirectory> directories_;
  std::map<std::pair<uint64_t, uint64_t>, std::pair<Tree::Directory, std::string>> linked_;
  std::vector<LinkJob> links_;
  std::shared_ptr<Bundle> bundle_;  // being filled

  Guarded<Queue> queue_;
  std::condition_variable changed_;
  std::vector<std::thread> workers_;
};

}  // namespace sheaf::cli
