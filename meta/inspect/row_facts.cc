#include "meta/inspect/row_facts.h"

#include <string>

#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {
namespace {

void AddLayout(const Layout& layout, Facts& facts) {
  facts.Add("chunk_size", layout.chunk_size())
      .Add("stripe_width", layout.stripe_width)
      .Add("table_version", layout.table_version)
      .Add("seed", layout.seed);
}

void AddInode(const Inode& inode, Facts& facts) {
  facts.Add("inode", inode.id.value())
      .Add("mode", inode.mode)
      .Add("links", inode.nlink)
      .Add("uid", inode.uid)
      .Add("gid", inode.gid)
      .Add("project", inode.project_id)
      .Add("version", inode.version)
      .Add("atime_ns", inode.atime_ns)
      .Add("mtime_ns", inode.mtime_ns)
      .Add("ctime_ns", inode.ctime_ns)
      .Add("btime_ns", inode.btime_ns);
  if (inode.IsRegular()) {
    facts.Add("size", inode.size)
        .Add("data_id", inode.data_id.value())
        .Add("size_epoch", inode.size_epoch.value())
        .Add("writers", inode.writers);
    AddLayout(inode.layout, facts);
  } else if (inode.IsDirectory()) {
    facts.Add("parent", inode.parent.value())
        .Add("entries", inode.entries)
        .Add("next_cookie", inode.next_cookie);
  } else if (inode.IsSymlink()) {
    facts.Add("target", inode.target);
  }
}

template <typename Message>
Status AddMessage(std::string_view value, Facts& facts) {
  Message message;
  if (!message.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return {Code::kCorrupt, "the message does not parse"};
  }
  facts.Add("message", message.ShortDebugString());
  return Status::Ok();
}

Status AddCluster(std::string_view key, std::string_view value, Facts& facts) {
  ASSIGN_OR_RETURN(const uint64_t id, ClusterIdOf(key));
  facts.Add("id", id);
  const auto kind = static_cast<ClusterRow>(key[1]);
  switch (kind) {
    case ClusterRow::kIdentity:
      facts.Add("kind", "identity").Add("uuid", value);
      break;
    case ClusterRow::kNode:
      facts.Add("kind", "node");
      return AddMessage<proto::Node>(value, facts);
    case ClusterRow::kTarget:
      facts.Add("kind", "target");
      return AddMessage<proto::Target>(value, facts);
    case ClusterRow::kChain:
      facts.Add("kind", "chain");
      return AddMessage<proto::Chain>(value, facts);
    case ClusterRow::kTable:
      facts.Add("kind", "table");
      return AddMessage<proto::ChainTable>(value, facts);
    case ClusterRow::kMapVersion:
    case ClusterRow::kCurrentTable: {
      ASSIGN_OR_RETURN(const uint64_t number, DecodeCounter(value));
      facts.Add("kind", kind == ClusterRow::kMapVersion ? "map_version" : "current_table")
          .Add("value", number);
      break;
    }
    case ClusterRow::kFenced:
      facts.Add("kind", "fenced");
      break;
    default:
      return {Code::kCorrupt, "cluster row of unknown kind"};
  }
  return Status::Ok();
}

Status AddOwned(Table table, std::string_view key, std::string_view value, Facts& facts) {
  ASSIGN_OR_RETURN(const uint64_t id, KeyField(key, 0));
  switch (table) {
    case Table::kInode: {
      ASSIGN_OR_RETURN(const Inode inode, DecodeInode(InodeId(id), value));
      AddInode(inode, facts);
      return Status::Ok();
    }
    case Table::kDentry: {
      ASSIGN_OR_RETURN(const std::string_view name, KeyName(key));
      ASSIGN_OR_RETURN(const Dentry dentry, DecodeDentry(value));
      facts.Add("parent", id)
          .Add("name", name)
          .Add("inode", dentry.inode.value())
          .Add("type", dentry.type)
          .Add("cookie", dentry.cookie);
      return Status::Ok();
    }
    case Table::kDirectory: {
      ASSIGN_OR_RETURN(const uint64_t cookie, KeyField(key, 1));
      ASSIGN_OR_RETURN(const DirectoryEntryRow row, DecodeDirectoryEntry(value));
      facts.Add("parent", id)
          .Add("cookie", cookie)
          .Add("name", row.name)
          .Add("inode", row.inode.value())
          .Add("type", row.type);
      return Status::Ok();
    }
    case Table::kXattr: {
      ASSIGN_OR_RETURN(const std::string_view name, KeyName(key));
      facts.Add("inode", id).Add("name", name).Add("bytes", value.size());
      return Status::Ok();
    }
    case Table::kSession: {
      ASSIGN_OR_RETURN(const Session session, DecodeSession(value));
      facts.Add("incarnation", id)
          .Add("description", session.description)
          .Add("opened_ns", session.opened_ns)
          .Add("acked_removal_epoch", session.acked_removal_epoch)
          .Add("fenced", session.fenced);
      return Status::Ok();
    }
    case Table::kWriteOpen: {
      ASSIGN_OR_RETURN(const uint64_t inode, KeyField(key, 1));
      ASSIGN_OR_RETURN(const WriteOpen open, DecodeWriteOpen(value));
      facts.Add("incarnation", id).Add("inode", inode).Add("count", open.count);
      return Status::Ok();
    }
    case Table::kResult: {
      ASSIGN_OR_RETURN(const uint64_t sequence, KeyField(key, 1));
      ASSIGN_OR_RETURN(const StoredResult result, DecodeResult(value));
      facts.Add("incarnation", id)
          .Add("sequence", sequence)
          .Add("lowest_outstanding", result.lowest_outstanding)
          .Add("code", CodeName(result.code))
          .Add("bytes", result.body.size());
      return Status::Ok();
    }
    case Table::kRemoval: {
      ASSIGN_OR_RETURN(const Removal removal, DecodeRemoval(value));
      facts.Add("epoch", id)
          .Add("kind", removal.kind == Removal::Kind::kInode ? "inode" : "data")
          .Add("inode", removal.inode.value())
          .Add("data_id", removal.data_id.value())
          .Add("size", removal.size);
      AddLayout(removal.layout, facts);
      return Status::Ok();
    }
    case Table::kTruncateIntent: {
      ASSIGN_OR_RETURN(const TruncateIntent intent, DecodeTruncateIntent(value));
      facts.Add("inode", id)
          .Add("data_id", intent.data_id.value())
          .Add("size_epoch", intent.size_epoch.value())
          .Add("keep_bytes", intent.keep_bytes)
          .Add("old_bytes", intent.old_bytes);
      return Status::Ok();
    }
    default:
      facts.Add("id", id).Add("bytes", value.size());
      return Status::Ok();
  }
}

Status AddUsage(std::string_view value, Facts& facts) {
  ASSIGN_OR_RETURN(const Usage usage, DecodeUsage(value));
  facts.Add("inodes", usage.inodes).Add("bytes", usage.bytes);
  return Status::Ok();
}

Status AddStore(std::string_view key, std::string_view value, Facts& facts) {
  if (key == FormatVersionKey()) {
    ASSIGN_OR_RETURN(const uint64_t version, DecodeCounter(value));
    facts.Add("format", version);
  } else {
    ASSIGN_OR_RETURN(const ExecutorState state, DecodeExecutorState(value));
    facts.Add("term", state.term).Add("index", state.index);
  }
  return Status::Ok();
}

}  // namespace

Result<Facts> RowFacts(std::string_view key, std::string_view value) {
  if (key.empty()) return Status(Code::kCorrupt, "row: its key is empty");
  const auto table = static_cast<Table>(key[0]);
  Facts facts;
  facts.Add("table", key.substr(0, 1));
  Status status;
  switch (table) {
    case Table::kCluster:
      status = key.size() < 2 ? Status(Code::kCorrupt, "cluster row: its key is too short")
                              : AddCluster(key, value, facts);
      break;
    case Table::kUsage:
      status = AddUsage(value, facts);
      break;
    case Table::kProjectUsage:
      facts.Add("project", Hex(key.substr(1)));
      status = AddUsage(value, facts);
      break;
    case Table::kStore:
      status = AddStore(key, value, facts);
      break;
    case Table::kAllocator: {
      const Result<uint64_t> next = DecodeCounter(value);
      status = next.status();
      if (next.ok() && key.size() == 2) {
        facts.Add("sequence", static_cast<unsigned>(key[1])).Add("next", *next);
      }
      break;
    }
    default:
      status = AddOwned(table, key, value, facts);
  }
  if (!status.ok()) return status.With("row " + Hex(key));
  return facts;
}

}  // namespace sheaf::meta
