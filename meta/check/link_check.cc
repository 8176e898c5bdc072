#include "meta/check/link_check.h"

#include <algorithm>
#include <utility>

namespace sheaf::meta {
namespace {

// A project's totals are under the table byte and its number, 32 bits big-endian.
Result<uint32_t> ProjectOf(std::string_view key) {
  if (key.size() != 5) return Status(Code::kCorrupt, "not the key of a project's totals");
  uint32_t project = 0;
  for (size_t i = 1; i < 5; ++i) project = project << 8 | static_cast<uint8_t>(key[i]);
  return project;
}

std::string Counts(const Usage& usage) {
  return std::to_string(usage.inodes) + " inodes and " + std::to_string(usage.bytes) + " bytes";
}

}  // namespace

LinkCheck::LinkCheck(const ReadView& view, Findings& findings, size_t share)
    : view_(view),
      findings_(findings),
      share_(share),
      inode_cursor_(view, TableRange(Table::kInode)),
      cursor_(view, TableRange(Table::kDentry)),
      sessions_(view) {}

Result<size_t> LinkCheck::Step() {
  switch (stage_) {
    case Stage::kInodes:
      return LoadInodes();
    case Stage::kDentries:
      return CountDentries();
    case Stage::kRemovals:
      return CountRemovals();
    case Stage::kWriteOpens:
      return CountWriteOpens();
    case Stage::kCompare:
      return Compare();
    case Stage::kTotals:
      return CompareTotals();
    case Stage::kDone:
      break;
  }
  return size_t{0};
}

void LinkCheck::Next(Stage stage, Table table) {
  stage_ = stage;
  cursor_ = RowCursor(view_, TableRange(table));
}

Result<size_t> LinkCheck::LoadInodes() {
  const size_t room = std::min(kCheckPage, share_ - counted_.size());
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, inode_cursor_.Next(room));
  for (const CheckRow& row : rows) {
    const Result<uint64_t> id = KeyField(row.key, 0);
    const Result<Inode> inode =
        id.ok() ? DecodeInode(InodeId(*id), row.value) : Result<Inode>(id.status());
    if (!inode.ok()) {
      findings_.AddBadRow(row.key, inode.status().message());
      continue;
    }
    TakeIn(*inode);
    RETURN_IF_ERROR(CheckTable(*inode));
  }
  if (inode_cursor_.done() || counted_.size() >= share_) Next(Stage::kDentries, Table::kDentry);
  return rows.size();
}

void LinkCheck::TakeIn(const Inode& inode) {
  ++inodes_;
  counted_.push_back(
      {.id = inode.id.value(), .parent = inode.IsDirectory() ? inode.parent.value() : 0});
  largest_inode_ = std::max(
      {largest_inode_, inode.id.value(), inode.run_end > inode.run_next ? inode.run_end - 1 : 0});
  if (inode.IsRegular()) largest_data_id_ = std::max(largest_data_id_, inode.data_id.value());
  if (inode.nlink == 0 || inode.id == kRootInode) return;
  const auto add = [&](Usage& usage) {
    ++usage.inodes;
    usage.bytes += inode.size;
  };
  add(total_);
  if (projects_.size() < kMaxProjects || projects_.contains(inode.project_id)) {
    add(projects_[inode.project_id]);
  }
}

Status LinkCheck::CheckTable(const Inode& inode) {
  if (!inode.IsRegular()) return Status::Ok();
  const uint32_t table = inode.layout.table_version;
  auto known = tables_.find(table);
  if (known == tables_.end()) {
    ASSIGN_OR_RETURN(const auto row, view_.Get(ClusterKey(ClusterRow::kTable, table)));
    if (tables_.size() == kCheckPage) tables_.clear();
    known = tables_.emplace(table, row.has_value()).first;
  }
  if (known->second) return Status::Ok();
  findings_
      .Add(proto::MISSING_TABLE,
           InodeText(inode.id) + ": it is laid out by chain table " + std::to_string(table) +
               ", which does not exist",
           /*repairable=*/false)
      .set_inode(inode.id.value());
  return Status::Ok();
}

LinkCheck::Counted* LinkCheck::Find(uint64_t inode) {
  auto found = std::lower_bound(counted_.begin(), counted_.end(), inode,
                                [](const Counted& at, uint64_t id) { return at.id < id; });
  return found != counted_.end() && found->id == inode ? &*found : nullptr;
}

Result<size_t> LinkCheck::CountDentries() {
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor_.Next(kCheckPage));
  for (const CheckRow& row : rows) {
    const Result<uint64_t> parent = KeyField(row.key, 0);
    const Result<std::string_view> name = KeyName(row.key);
    const Result<Dentry> dentry = DecodeDentry(row.value);
    if (!parent.ok() || !name.ok() || !dentry.ok()) continue;  // found with the names
    Counted* counted = Find(dentry->inode.value());
    if (counted == nullptr) continue;
    ++counted->links;
    if (counted->parent == *parent) {
      ++counted->home_links;
    } else if (counted->parent != 0 && away_.size() < kMaxAway) {
      away_.push_back({counted->id, InodeId(*parent), std::string(*name)});
    }
  }
  if (cursor_.done()) Next(Stage::kRemovals, Table::kRemoval);
  return rows.size();
}

Result<size_t> LinkCheck::CountRemovals() {
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor_.Next(kCheckPage));
  for (const CheckRow& row : rows) {
    const Result<uint64_t> epoch = KeyField(row.key, 0);
    const Result<Removal> removal = DecodeRemoval(row.value);
    if (!epoch.ok() || !removal.ok() || removal->kind != Removal::Kind::kInode) continue;
    if (Counted* counted = Find(removal->inode.value())) counted->epoch = *epoch;
  }
  if (cursor_.done()) Next(Stage::kWriteOpens, Table::kWriteOpen);
  return rows.size();
}

// Those of a session that is gone do not count: they go.
Result<size_t> LinkCheck::CountWriteOpens() {
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor_.Next(kCheckPage));
  for (const CheckRow& row : rows) {
    const Result<uint64_t> session = KeyField(row.key, 0);
    const Result<uint64_t> inode = KeyField(row.key, 1);
    if (!session.ok() || !inode.ok()) continue;
    ASSIGN_OR_RETURN(const bool lives, sessions_.Has(SessionKey(Incarnation(*session))));
    Counted* counted = Find(*inode);
    if (lives && counted != nullptr) ++counted->writers;
  }
  if (cursor_.done()) {
    stage_ = Stage::kCompare;
    compared_ = 0;
  }
  return rows.size();
}

Result<size_t> LinkCheck::Compare() {
  const size_t end = std::min(compared_ + kCheckPage, counted_.size());
  const size_t begin = std::exchange(compared_, end);
  std::vector<std::string> keys;
  for (size_t i = begin; i < end; ++i) keys.push_back(InodeKey(InodeId(counted_[i].id)));
  ASSIGN_OR_RETURN(const auto rows, view_.MultiGet(keys));
  for (size_t i = begin; i < end; ++i) {
    if (!rows[i - begin]) continue;
    const Result<Inode> inode = DecodeInode(InodeId(counted_[i].id), *rows[i - begin]);
    if (!inode.ok()) continue;  // found when it was counted
    CompareOne(counted_[i], *inode);
    RETURN_IF_ERROR(CheckEmpty(counted_[i], *inode));
  }
  if (end < counted_.size()) return end - begin;
  counted_.clear();
  away_.clear();
  stage_ = inode_cursor_.done() ? Stage::kTotals : Stage::kInodes;
  return end - begin;
}

proto::Finding& LinkCheck::AddOf(const Inode& inode, proto::FindingKind kind,
                                 const std::string& what) {
  proto::Finding& finding = findings_.Add(kind, InodeText(inode.id) + ": " + what);
  finding.set_inode(inode.id.value());
  finding.set_inode_version(inode.version);
  return finding;
}

void LinkCheck::CompareOne(const Counted& counted, const Inode& inode) {
  if (inode.IsRegular() && inode.writers != counted.writers) {
    AddOf(inode, proto::WRONG_WRITERS,
          "it counts " + std::to_string(inode.writers) + " writers, should be " +
              std::to_string(counted.writers))
        .set_expected(counted.writers);
  }
  if (inode.id != kRootInode) {
    if (counted.links == 0) return CompareUnlinked(counted, inode);
    if (!inode.IsDirectory() && inode.nlink != counted.links) {
      AddOf(inode, proto::WRONG_LINKS,
            "it counts " + std::to_string(inode.nlink) + " links, should be " +
                std::to_string(counted.links))
          .set_expected(counted.links);
    }
    if (counted.epoch != 0) {
      AddOf(inode, proto::QUEUED_LIVE_INODE,
            "it is in the removal queue (" + std::to_string(counted.epoch) +
                ") although it has a name")
          .set_epoch(counted.epoch);
    }
  }
  if (inode.IsDirectory()) CompareDirectory(counted, inode);
}

void LinkCheck::CompareDirectory(const Counted& counted, const Inode& inode) {
  for (const Away& away : away_) {
    if (away.inode != counted.id) continue;
    const bool only = counted.links == 1 && inode.id != kRootInode;
    proto::Finding& finding =
        only ? AddOf(inode, proto::WRONG_PARENT,
                     "it names directory " + ToString(inode.parent) +
                         " as its parent, but lies in " + ToString(away.parent))
             : findings_.Add(proto::EXTRA_LINK, DentryText(away.parent, away.name) +
                                                    ": a second name of directory " +
                                                    ToString(inode.id));
    finding.set_inode(inode.id.value());
    finding.set_inode_version(inode.version);
    finding.set_parent(away.parent.value());
    finding.set_name(away.name);
  }
  if (counted.home_links > 1) {
    findings_.Add(proto::EXTRA_LINK,
                  InodeText(inode.id) + ": the directory has " +
                      std::to_string(counted.home_links) + " names in directory " +
                      ToString(inode.parent) + "; remove all but one by hand",
                  /*repairable=*/false);
  }
}

// Those with dentries in them were compared with the names.
Status LinkCheck::CheckEmpty(const Counted& counted, const Inode& inode) {
  if (!inode.IsDirectory() || (inode.nlink == 0 && counted.links == 0)) return Status::Ok();
  if (inode.entries == 0 && inode.nlink == 2) return Status::Ok();
  bool empty = true;
  const KeyRange range = IdRange(Table::kDentry, inode.id.value());
  RETURN_IF_ERROR(view_.Scan(range.begin, range.end, 1, [&](auto, auto) { return empty = false; }));
  if (!empty) return Status::Ok();
  if (inode.entries != 0) {
    AddOf(inode, proto::WRONG_ENTRY_COUNT,
          "the directory counts " + std::to_string(inode.entries) + " entries, should be 0");
  }
  if (inode.nlink != 2) {
    AddOf(inode, proto::WRONG_LINKS,
          "the directory counts " + std::to_string(inode.nlink) + " links, should be 2")
        .set_expected(2);
  }
  return Status::Ok();
}

void LinkCheck::CompareUnlinked(const Counted& counted, const Inode& inode) {
  if (inode.nlink > 0 && counted.epoch == 0) {
    AddOf(inode, proto::UNREACHABLE_INODE, "it has no name");
  } else if (inode.nlink > 0) {
    AddOf(inode, proto::WRONG_LINKS,
          "it is removed, but counts " + std::to_string(inode.nlink) + " links");
  } else if (counted.epoch == 0) {
    AddOf(inode, proto::LOST_REMOVAL, "it has no links and is not in the removal queue");
  }
}

Result<size_t> LinkCheck::CompareTotals() {
  stage_ = Stage::kDone;
  RETURN_IF_ERROR(CompareUsage(UsageKey(), total_, "totals", nullptr));
  if (projects_.size() < kMaxProjects) {
    RowCursor cursor(view_, TableRange(Table::kProjectUsage));
    while (!cursor.done()) {
      ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor.Next(kCheckPage));
      for (const CheckRow& row : rows) {
        const Result<uint32_t> project = ProjectOf(row.key);
        if (project.ok()) {
          projects_.try_emplace(*project);
        } else {
          findings_.AddBadRow(row.key, project.status().message());
        }
      }
    }
    for (const auto& [project, usage] : projects_) {
      RETURN_IF_ERROR(CompareUsage(ProjectUsageKey(project), usage,
                                   "totals of project " + std::to_string(project), &project));
    }
  }
  RETURN_IF_ERROR(CompareAllocator(Sequence::kInode, "inode", largest_inode_));
  RETURN_IF_ERROR(CompareAllocator(Sequence::kDataId, "data_id", largest_data_id_));
  return projects_.size() + 1;
}

Status LinkCheck::CompareUsage(const std::string& key, const Usage& expected,
                               const std::string& of_what, const uint32_t* project) {
  ASSIGN_OR_RETURN(const auto row, view_.Get(key));
  Usage stored;
  if (row) {
    Result<Usage> decoded = DecodeUsage(*row);
    if (!decoded.ok()) {
      findings_.AddBadRow(key, decoded.status().message());
      return Status::Ok();
    }
    stored = *decoded;
  }
  if (stored == expected) return Status::Ok();
  proto::Finding& finding = findings_.Add(
      proto::WRONG_USAGE, of_what + ": " + Counts(stored) + ", should be " + Counts(expected));
  finding.set_add_inodes(static_cast<int64_t>(expected.inodes - stored.inodes));
  finding.set_add_bytes(static_cast<int64_t>(expected.bytes - stored.bytes));
  if (project != nullptr) finding.set_project(*project);
  return Status::Ok();
}

Status LinkCheck::CompareAllocator(Sequence which, const char* what, uint64_t largest) {
  ASSIGN_OR_RETURN(const auto row, view_.Get(AllocatorKey(which)));
  uint64_t next = 0;
  if (row) {
    Result<uint64_t> decoded = DecodeCounter(*row);
    if (!decoded.ok()) {
      findings_.AddBadRow(AllocatorKey(which), decoded.status().message());
      return Status::Ok();
    }
    next = *decoded;
  }
  // The root has number 1 and is not handed out.
  if (largest < next || (next == 0 && largest <= 1)) return Status::Ok();
  proto::Finding& finding =
      findings_.Add(proto::WRONG_ALLOCATOR, std::string("allocator: the next ") + what + " is " +
                                                std::to_string(next) + ", but " +
                                                std::to_string(largest) + " is in use");
  finding.set_sequence(static_cast<uint32_t>(which));
  finding.set_expected(largest + 1);
  return Status::Ok();
}

}  // namespace sheaf::meta
