#include "meta/ops/store_format.h"

#include <string>
#include <vector>

#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

Result<bool> IsEmpty(const KvStore& store) {
  bool empty = true;
  RETURN_IF_ERROR(store.Scan(std::string_view("\0", 1), "\xff", 1,
                             [&](std::string_view, std::string_view) { return empty = false; }));
  return empty;
}

Inode RootDirectory(const ExecutorOptions& options) {
  const int64_t now = options.clock->WallNanos();
  Inode root;
  root.id = kRootInode;
  root.mode = S_IFDIR | (options.root_mode & 07777);
  root.nlink = 2;
  root.uid = options.root_uid;
  root.gid = options.root_gid;
  root.version = 1;
  root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = now;
  root.parent = kRootInode;
  root.chunk_size_log2 = kDefaultChunkSizeLog2;
  return root;
}

Status Format(KvStore& store, const ExecutorOptions& options, const ExecutorState& first) {
  const std::string version_key = FormatVersionKey();
  const std::string version = EncodeCounter(kFormatVersion);
  const std::string root_key = InodeKey(kRootInode);
  const std::string root = EncodeInode(RootDirectory(options));
  const std::string state_key = ExecutorStateKey();
  const std::string state = EncodeExecutorState(first);
  const std::vector<KvChange> batch = {
      {version_key, version}, {root_key, root}, {state_key, state}};
  return store.Write(batch, /*sync=*/true).With("format metadata store");
}

Status CheckVersion(const std::string& row) {
  ASSIGN_OR_RETURN(const uint64_t found, DecodeCounter(row));
  if (found <= kFormatVersion) return Status::Ok();
  return {Code::kInvalid, "open metadata store: its format " + std::to_string(found) +
                              " is newer than this program's " + std::to_string(kFormatVersion) +
                              "; use a newer program"};
}

}  // namespace

Result<ExecutorState> PrepareStore(KvStore& store, const ExecutorOptions& options) {
  ASSIGN_OR_RETURN(const auto version, store.Get(FormatVersionKey()));
  if (!version) {
    ASSIGN_OR_RETURN(const bool empty, IsEmpty(store));
    if (!empty) {
      return Status(Code::kInvalid, "open metadata store: it has rows but no format version");
    }
    const ExecutorState first = {.term = options.term, .index = 1};
    RETURN_IF_ERROR(Format(store, options, first));
    return first;
  }
  RETURN_IF_ERROR(CheckVersion(*version));
  ASSIGN_OR_RETURN(const auto row, store.Get(ExecutorStateKey()));
  if (!row) return Status(Code::kCorrupt, "open metadata store: the executor's state is missing");
  ASSIGN_OR_RETURN(const ExecutorState last, DecodeExecutorState(*row));
  if (last.term > options.term) {
    return Status(Code::kFenced, "open metadata store: term " + std::to_string(last.term) +
                                     " has written, this is term " + std::to_string(options.term));
  }
  return last;
}

}  // namespace sheaf::meta
