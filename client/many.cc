#include <map>
#include <utility>

#include "client/client_impl.h"
#include "client/file/attr.h"
#include "client/meta/parallel.h"
#include "client/path_walk.h"

// The calls of many entries, by batches.

namespace sheaf::client {
namespace {

constexpr size_t kWalksAtOnce = 8;

template <typename Request>
void Name(const Client::Entry& entry, Request* request) {
  request->set_parent(entry.parent.value());
  request->set_name(entry.name);
}

// "/a/b" as "/a" and "b"; nothing for a path whose last name is to be walked like any other.
std::optional<std::pair<std::string, std::string>> SplitLast(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string name = slash == path.npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || path.size() > PathWalk::kMaxPath) return {};
  return std::pair(slash == path.npos ? "/" : path.substr(0, slash + 1), name);
}

}  // namespace

std::vector<Result<FileAttr>> ClientImpl::Attributes(
    const Credentials& who, std::vector<proto::BatchOperation> operations) {
  std::vector<Result<FileAttr>> attributes;
  attributes.reserve(operations.size());
  for (const proto::BatchResult& result : batcher_->Run(who, std::move(operations))) {
    const Status status = StatusOf(result);
    attributes.push_back(status.ok() ? Result<FileAttr>(files_->Present(result.attr()))
                                     : Result<FileAttr>(status));
  }
  return attributes;
}

std::vector<Result<FileAttr>> ClientImpl::LookupMany(const Credentials& who,
                                                     std::span<const Entry> entries) {
  std::vector<proto::BatchOperation> operations(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) Name(entries[i], operations[i].mutable_lookup());
  return Attributes(who, std::move(operations));
}

std::vector<Result<FileAttr>> ClientImpl::CreateMany(const Credentials& who,
                                                     std::span<const NewEntry> entries) {
  std::vector<proto::BatchOperation> operations(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    proto::CreateRequest* create = operations[i].mutable_create();
    Name({entries[i].parent, entries[i].name}, create);
    create->set_mode(entries[i].mode);
    create->set_exclusive(true);
  }
  return Attributes(who, std::move(operations));
}

std::vector<Result<FileAttr>> ClientImpl::MkdirMany(const Credentials& who,
                                                    std::span<const NewEntry> entries) {
  std::vector<proto::BatchOperation> operations(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    Name({entries[i].parent, entries[i].name}, operations[i].mutable_mkdir());
    operations[i].mutable_mkdir()->set_mode(entries[i].mode);
  }
  return Attributes(who, std::move(operations));
}

std::vector<Status> ClientImpl::UnlinkMany(const Credentials& who, std::span<const Entry> entries) {
  std::vector<proto::BatchOperation> operations(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) Name(entries[i], operations[i].mutable_unlink());
  std::vector<Status> statuses;
  for (const proto::BatchResult& result : batcher_->Run(who, std::move(operations))) {
    statuses.push_back(StatusOf(result));
  }
  return statuses;
}

// A file that is open here and was written is reported first: as by SetAttr.
std::vector<Result<FileAttr>> ClientImpl::SetAttrMany(const Credentials& who,
                                                      std::span<const InodeChange> changes) {
  std::vector<Result<FileAttr>> answers(changes.size(), Status(Code::kIo, "not asked"));
  std::vector<proto::BatchOperation> operations;
  std::vector<size_t> batched;
  for (size_t i = 0; i < changes.size(); ++i) {
    if (changes[i].change.size) {
      answers[i] = Status(Code::kInvalid, "setattr " + ToString(changes[i].inode) +
                                              ": a size is not set by a batch; use SetAttr");
    } else if (inodes_.IsOpen(changes[i].inode)) {
      answers[i] = SetAttr(who, changes[i].inode, changes[i].change, nullptr);
    } else {
      proto::SetAttrRequest* request = operations.emplace_back().mutable_set_attr();
      request->set_inode(changes[i].inode.value());
      FillIn(changes[i].change, *request);
      batched.push_back(i);
    }
  }
  auto attributes = Attributes(who, std::move(operations));
  for (size_t i = 0; i < batched.size(); ++i) answers[batched[i]] = std::move(attributes[i]);
  return answers;
}

std::vector<Result<FileAttr>> ClientImpl::StatPaths(std::span<const std::string> paths,
                                                    bool follow) {
  const Credentials who = Credentials::OfProcess();
  std::vector<Result<FileAttr>> answers(paths.size(), Status(Code::kIo, "not asked"));
  std::map<std::string, std::vector<std::pair<size_t, std::string>>> by_directory;
  std::vector<size_t> walked;  // paths that are walked to their end, one by one
  for (size_t i = 0; i < paths.size(); ++i) {
    if (auto split = SplitLast(paths[i])) {
      by_directory[split->first].emplace_back(i, std::move(split->second));
    } else {
      walked.push_back(i);
    }
  }
  std::vector<const std::string*> directories;
  for (const auto& [directory, names] : by_directory) directories.push_back(&directory);
  std::vector<Result<FileAttr>> found(directories.size(), Status(Code::kIo, "not asked"));
  ParallelFor(directories.size(), kWalksAtOnce,
              [&](size_t i) { found[i] = StatPath(*directories[i], true); });

  std::vector<Entry> entries;
  std::vector<size_t> indexes;
  for (size_t d = 0; d < directories.size(); ++d) {
    for (auto& [index, name] : by_directory[*directories[d]]) {
      if (!found[d].ok()) {
        answers[index] = found[d].status();
        continue;
      }
      entries.push_back({found[d]->inode, std::move(name)});
      indexes.push_back(index);
    }
  }
  auto attributes = LookupMany(who, entries);
  for (size_t i = 0; i < indexes.size(); ++i) {
    const bool to_follow = follow && attributes[i].ok() && S_ISLNK(attributes[i]->mode);
    if (to_follow) walked.push_back(indexes[i]);
    answers[indexes[i]] = std::move(attributes[i]);
  }
  ParallelFor(walked.size(), kWalksAtOnce,
              [&](size_t i) { answers[walked[i]] = StatPath(paths[walked[i]], follow); });
  return answers;
}

}  // namespace sheaf::client
