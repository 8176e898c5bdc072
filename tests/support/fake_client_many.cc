#include <fcntl.h>
#include <sys/stat.h>

#include "common/status.h"
#include "tests/support/fake_client.h"

// The calls of many entries, one by one.

namespace sheaf {

std::vector<Result<FileAttr>> FakeClient::LookupMany(const Credentials& who,
                                                     std::span<const Entry> entries) {
  std::vector<Result<FileAttr>> answers;
  for (const Entry& entry : entries) answers.push_back(Lookup(who, entry.parent, entry.name));
  return answers;
}

std::vector<Result<FileAttr>> FakeClient::StatPaths(std::span<const std::string> paths,
                                                    bool follow) {
  std::vector<Result<FileAttr>> answers;
  for (const std::string& path : paths) answers.push_back(StatPath(path, follow));
  return answers;
}

std::vector<Result<FileAttr>> FakeClient::CreateMany(const Credentials& who,
                                                     std::span<const NewEntry> entries) {
  std::vector<Result<FileAttr>> answers;
  for (const NewEntry& entry : entries) {
    answers.push_back(Mknod(who, entry.parent, entry.name, S_IFREG | entry.mode, 0));
  }
  return answers;
}

std::vector<Result<FileAttr>> FakeClient::MkdirMany(const Credentials& who,
                                                    std::span<const NewEntry> entries) {
  std::vector<Result<FileAttr>> answers;
  for (const NewEntry& entry : entries) {
    answers.push_back(Mkdir(who, entry.parent, entry.name, entry.mode));
  }
  return answers;
}

std::vector<Status> FakeClient::UnlinkMany(const Credentials& who, std::span<const Entry> entries) {
  std::vector<Status> answers;
  for (const Entry& entry : entries) answers.push_back(Unlink(who, entry.parent, entry.name));
  return answers;
}

std::vector<Result<FileAttr>> FakeClient::SetAttrMany(const Credentials& who,
                                                      std::span<const InodeChange> changes) {
  std::vector<Result<FileAttr>> answers;
  for (const InodeChange& each : changes) {
    answers.push_back(SetAttr(who, each.inode, each.change, nullptr));
  }
  return answers;
}

std::vector<Status> FakeClient::WriteFiles(const Credentials& who,
                                           std::span<const WholeFile> files) {
  std::vector<Status> answers;
  for (const WholeFile& file : files) {
    answers.push_back([&]() -> Status {
      ASSIGN_OR_RETURN(const Created made,
                       Create(who, file.parent, file.name, 0600, O_RDWR | O_CREAT | O_EXCL));
      RETURN_IF_ERROR(made.file->Write(0, file.bytes).status());
      RETURN_IF_ERROR(made.file->Close());
      return SetAttr(who, made.attr.inode, file.attr, nullptr).status();
    }());
  }
  return answers;
}

}  // namespace sheaf
