#include "meta/check/name_check.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sheaf::meta {

DentryCheck::DentryCheck(const ReadView& view, Findings& findings)
    : view_(view), findings_(findings), cursor_(view, TableRange(Table::kDentry)) {}

Result<size_t> DentryCheck::Step() {
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor_.Next(kCheckPage));
  const std::vector<Named> page = Decode(rows);
  std::vector<std::string> keys;
  for (const Named& named : page) keys.push_back(InodeKey(named.dentry.inode));
  for (const Named& named : page) keys.push_back(DirectoryKey(named.parent, named.dentry.cookie));
  ASSIGN_OR_RETURN(const auto found, view_.MultiGet(keys));
  for (size_t i = 0; i < page.size(); ++i) {
    RETURN_IF_ERROR(Enter(page[i].parent));
    RETURN_IF_ERROR(CheckNamed(page[i], found[i], found[page.size() + i]));
  }
  if (cursor_.done()) {
    Leave();
    done_ = true;
  }
  return rows.size();
}

std::vector<DentryCheck::Named> DentryCheck::Decode(const std::vector<CheckRow>& rows) {
  std::vector<Named> page;
  for (const CheckRow& row : rows) {
    const Result<uint64_t> parent = KeyField(row.key, 0);
    const Result<std::string_view> name = KeyName(row.key);
    const Result<Dentry> dentry = DecodeDentry(row.value);
    Status status = parent.status();
    if (status.ok()) status = name.status();
    if (status.ok()) status = dentry.status();
    if (!status.ok()) {
      findings_.AddBadRow(row.key, status.message());
      continue;
    }
    page.push_back({InodeId(*parent), std::string(*name), *dentry});
  }
  return page;
}

Result<std::optional<Inode>> DentryCheck::LoadDirectoryIfAny(InodeId id) const {
  ASSIGN_OR_RETURN(const auto row, view_.Get(InodeKey(id)));
  if (!row) return std::optional<Inode>();
  Result<Inode> inode = DecodeInode(id, *row);
  // One that does not decode is found where inodes are read.
  if (!inode.ok() || !inode->IsDirectory()) return std::optional<Inode>();
  return std::optional<Inode>(std::move(*inode));
}

Status DentryCheck::Enter(InodeId parent) {
  if (directory_ && directory_->id == parent) return Status::Ok();
  Leave();
  ASSIGN_OR_RETURN(auto inode, LoadDirectoryIfAny(parent));
  directory_ = Directory{.id = parent, .inode = std::move(inode)};
  return Status::Ok();
}

void DentryCheck::Leave() {
  if (!directory_ || !directory_->inode) return directory_.reset();
  const Inode& inode = *directory_->inode;
  const auto add = [&](proto::FindingKind kind, const char* what, uint64_t found,
                       uint64_t expected) {
    proto::Finding& finding = findings_.Add(kind, InodeText(inode.id) + ": the directory counts " +
                                                      std::to_string(found) + " " + what +
                                                      ", should be " + std::to_string(expected));
    finding.set_inode(inode.id.value());
    finding.set_inode_version(inode.version);
    finding.set_found(found);
    finding.set_expected(expected);
  };
  if (inode.entries != directory_->entries) {
    add(proto::WRONG_ENTRY_COUNT, "entries", inode.entries, directory_->entries);
  }
  const uint64_t links = 2 + directory_->directories;
  if (inode.nlink != links) add(proto::WRONG_LINKS, "links", inode.nlink, links);
  if (directory_->last_cookie >= inode.next_cookie) {
    add(proto::WRONG_NEXT_COOKIE, "as its next cookie", inode.next_cookie,
        directory_->last_cookie + 1);
  }
  directory_.reset();
}

Status DentryCheck::CheckNamed(const Named& named, const std::optional<std::string>& inode_row,
                               const std::optional<std::string>& directory_row) {
  const std::string text = DentryText(named.parent, named.name);
  const auto add = [&](proto::FindingKind kind, const std::string& what) {
    proto::Finding& finding = findings_.Add(kind, text + ": " + what);
    finding.set_parent(named.parent.value());
    finding.set_name(named.name);
    finding.set_inode(named.dentry.inode.value());
  };
  ++directory_->entries;
  directory_->last_cookie = std::max(directory_->last_cookie, named.dentry.cookie);
  if (!directory_->inode) {
    add(proto::PARENTLESS_DENTRY, "there is no directory " + ToString(named.parent));
    return Status::Ok();
  }
  if (!inode_row) {
    add(proto::DANGLING_DENTRY,
        "names inode " + ToString(named.dentry.inode) + ", which does not exist");
    return Status::Ok();
  }
  CheckDirectoryRow(named, directory_row);
  const Result<Inode> inode = DecodeInode(named.dentry.inode, *inode_row);
  if (!inode.ok()) return Status::Ok();  // found where inodes are read
  if ((inode->mode & S_IFMT) != named.dentry.type) {
    add(proto::WRONG_TYPE, "its type is not that of inode " + ToString(inode->id));
  }
  if (!inode->IsDirectory()) return Status::Ok();
  ++directory_->directories;
  return inode->parent == named.parent ? CheckWayUp(named, *inode) : Status::Ok();
}

void DentryCheck::CheckDirectoryRow(const Named& named, const std::optional<std::string>& row) {
  std::string why = "has no row in readdir order";
  if (row) {
    const Result<DirectoryEntryRow> decoded = DecodeDirectoryEntry(*row);
    if (decoded.ok() && decoded->inode == named.dentry.inode && decoded->name == named.name &&
        decoded->type == named.dentry.type) {
      return;
    }
    why = "its row in readdir order is another's";
  }
  proto::Finding& finding = findings_.Add(proto::MISSING_DIRECTORY_ROW,
                                          DentryText(named.parent, named.name) + ": " + why);
  finding.set_parent(named.parent.value());
  finding.set_name(named.name);
  finding.set_cookie(named.dentry.cookie);
}

// Only a loop is told here: a way up that ends early ends at a finding of its own.
Status DentryCheck::CheckWayUp(const Named& named, const Inode& directory) {
  std::vector<uint64_t> way;
  InodeId at = directory.id;
  InodeId above = directory.parent;
  while (at != kRootInode && !known_.contains(at.value()) && way.size() <= kMaxWalk) {
    way.push_back(at.value());
    ASSIGN_OR_RETURN(const auto parent, LoadDirectoryIfAny(above));
    if (!parent) return Status::Ok();
    at = parent->id;
    above = parent->parent;
  }
  if (way.size() <= kMaxWalk) {
    if (known_.size() + way.size() > kMaxKnown) known_.clear();
    known_.insert(way.begin(), way.end());
    return Status::Ok();
  }
  ASSIGN_OR_RETURN(const bool tell, IsSmallestOfLoop(directory.id));
  if (!tell) return Status::Ok();
  proto::Finding& finding = findings_.Add(
      proto::DIRECTORY_LOOP, DentryText(named.parent, named.name) + ": directory " +
                                 ToString(directory.id) + " lies in itself, not under the root");
  finding.set_parent(named.parent.value());
  finding.set_name(named.name);
  finding.set_inode(directory.id.value());
  finding.set_inode_version(directory.version);
  return Status::Ok();
}

// One member of a loop stands for all of it; what merely hangs below is reachable again with it.
Result<bool> DentryCheck::IsSmallestOfLoop(InodeId id) const {
  InodeId at = id;
  for (size_t step = 0; step <= kMaxWalk; ++step) {
    ASSIGN_OR_RETURN(const auto inode, LoadDirectoryIfAny(at));
    if (!inode || inode->parent < id) return false;
    if (inode->parent == id) return true;
    at = inode->parent;
  }
  return false;
}

Result<size_t> DirectoryRowCheck::Step() {
  struct Row {
    InodeId parent;
    uint64_t cookie;
    std::string name;
  };
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor_.Next(kCheckPage));
  std::vector<Row> page;
  std::vector<std::string> keys;
  for (const CheckRow& row : rows) {
    const Result<uint64_t> parent = KeyField(row.key, 0);
    const Result<uint64_t> cookie = KeyField(row.key, 1);
    Result<DirectoryEntryRow> entry = DecodeDirectoryEntry(row.value);
    if (!parent.ok() || !cookie.ok()) {
      findings_.AddBadRow(row.key, "not the key of a directory entry");
      continue;
    }
    // Without its name it stands for nothing: its dentry has told that its own row is missing.
    page.push_back({InodeId(*parent), *cookie, entry.ok() ? std::move(entry->name) : ""});
    keys.push_back(DentryKey(page.back().parent, page.back().name));
  }
  ASSIGN_OR_RETURN(const auto dentries, view_.MultiGet(keys));
  for (size_t i = 0; i < page.size(); ++i) {
    if (dentries[i]) {
      const Result<Dentry> dentry = DecodeDentry(*dentries[i]);
      if (!dentry.ok() || dentry->cookie == page[i].cookie) continue;
    }
    proto::Finding& finding =
        findings_.Add(proto::STRAY_DIRECTORY_ROW,
                      "directory " + ToString(page[i].parent) + ": the row of cookie " +
                          std::to_string(page[i].cookie) + " has no dentry of its name");
    finding.set_parent(page[i].parent.value());
    finding.set_cookie(page[i].cookie);
  }
  return rows.size();
}

}  // namespace sheaf::meta
