#include <fcntl.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "client/client_impl.h"
#include "client/file/attr.h"

// Small files with all that is in them: a batch of creates, the chunks beside one another, a batch
// of closes with lengths and attributes.

namespace sheaf::client {
namespace {

// Files made, written and closed in one go; their bytes are the caller's memory.
constexpr size_t kFilesAtOnce = 512;
constexpr size_t kMaxPiece = size_t{1} << 20;  // bytes of one chunk write

bool IsZero(std::span<const uint8_t> bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Chunk writes of some files, the first error of each. Waits end because every write does, by its
// deadline.
class Writes {
 public:
  Writes(ChunkClient& chunks, std::vector<Status>& statuses)
      : chunks_(chunks), statuses_(statuses) {}
  ~Writes() { Wait(); }

  void Start(size_t file, const proto::Attr& attr, std::span<const uint8_t> bytes) {
    const Layout layout = LayoutFromProto(attr.layout());
    for (size_t at = 0; at < bytes.size();) {
      const ChunkRange piece = FirstChunkRange(layout, at, std::min(bytes.size() - at, kMaxPiece));
      const auto from = bytes.subspan(at, piece.length);
      at += piece.length;
      if (IsZero(from)) continue;
      Begin();
      chunks_.Write({.layout = layout,
                     .chunk = {.data_id = DataId(attr.data_id()), .index = piece.index},
                     .offset = piece.offset},
                    from, [this, file](const Result<size_t>& result) { Done(file, result); });
    }
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return under_way_ == 0; });
  }

 private:
  void Begin() {
    const std::lock_guard lock(mutex_);
    ++under_way_;
  }
  void Done(size_t file, const Result<size_t>& result) {
    const std::lock_guard lock(mutex_);
    if (!result.ok() && statuses_[file].ok()) statuses_[file] = result.status();
    if (--under_way_ == 0) idle_.notify_all();  // under the lock: the waiter destroys us
  }

  ChunkClient& chunks_;
  std::vector<Status>& statuses_;
  std::mutex mutex_;
  size_t under_way_ = 0;
  std::condition_variable idle_;
};

void FillCreate(const Client::WholeFile& file, proto::CreateRequest* create) {
  create->set_parent(file.parent.value());
  create->set_name(file.name);
  create->set_mode(0600);
  create->set_exclusive(true);
  create->set_open_flags(O_WRONLY);
}

// Close, then the attributes: closing stamps the times that they set.
void FillClose(const proto::Attr& attr, const Client::WholeFile& file, bool written,
               std::vector<proto::BatchOperation>& operations) {
  proto::CloseRequest* close = operations.emplace_back().mutable_close();
  close->set_inode(attr.inode());
  proto::SetAttrRequest* set = operations.emplace_back().mutable_set_attr();
  set->set_inode(attr.inode());
  if (!written) return;
  close->mutable_report()->set_size_epoch(attr.size_epoch());
  close->mutable_report()->set_length(file.bytes.size());
  close->mutable_report()->set_wrote(true);
  FillIn(file.attr, *set);
}

}  // namespace

// The announcement of an open keeps what is made here from being reclaimed under our writes, should
// somebody unlink it meanwhile.
std::vector<Status> ClientImpl::WriteFiles(const Credentials& who,
                                           std::span<const WholeFile> files) {
  std::vector<Status> statuses(files.size());
  for (size_t begin = 0; begin < files.size(); begin += kFilesAtOnce) {
    const size_t count = std::min(kFilesAtOnce, files.size() - begin);
    const InodeTable::Opening opening(inodes_);
    const Incarnation session = session_->incarnation();
    std::vector<proto::BatchOperation> creates(count);
    for (size_t i = 0; i < count; ++i) FillCreate(files[begin + i], creates[i].mutable_create());
    const auto created = batcher_->Run(who, std::move(creates));
    std::vector<bool> exists(count);
    {
      Writes writes(*chunks_, statuses);
      for (size_t i = 0; i < count; ++i) {
        statuses[begin + i] = StatusOf(created[i]);
        exists[i] = created[i].code() == 0;
      }
      for (size_t i = 0; i < count; ++i) {
        if (exists[i]) writes.Start(begin + i, created[i].attr(), files[begin + i].bytes);
      }
    }
    std::vector<proto::BatchOperation> closes;
    std::vector<size_t> closed;
    for (size_t i = 0; i < count; ++i) {
      if (!exists[i]) continue;
      FillClose(created[i].attr(), files[begin + i], statuses[begin + i].ok(), closes);
      closed.push_back(begin + i);
    }
    const auto results = batcher_->Run(who, std::move(closes), {.together = 2, .session = session});
    for (size_t i = 0; i < closed.size(); ++i) {
      for (const auto& result : {results[2 * i], results[2 * i + 1]}) {
        if (statuses[closed[i]].ok()) statuses[closed[i]] = StatusOf(result);
      }
    }
  }
  return statuses;
}

}  // namespace sheaf::client
