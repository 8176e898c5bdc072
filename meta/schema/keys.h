#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/status.h"

// Every key of the metadata store. One byte says the table, then fields; integers are big-endian,
// so that keys sort as their fields do. Names are last and raw. Values are in values.h. The table
// is part of the on-disk format (docs/FORMAT.md) and pinned by golden vectors.
//
//   byte  key fields                          value
//   'A'   sequence u8                         Counter: the next number of a sequence
//   'C'   kind u8, id u64                     cluster rows: map, nodes, targets, chains, tables
//   'D'   parent u64, name                    Dentry
//   'E'   parent u64, cookie u64              DirectoryEntryRow: the directory in readdir order
//   'I'   inode u64                           Inode
//   'K'   record data_id u64                  reserved: a record's state
//   'L'   record data_id u64                  reserved: a record's live bytes (Counter)
//   'N'   -                                   Usage of the whole file system
//   'Q'   project u32                         Usage of one project
//   'R'   incarnation u64, sequence u64       StoredResult
//   'S'   incarnation u64                     Session
//   'T'   inode u64                           TruncateIntent
//   'U'   removal epoch u64                   Removal
//   'W'   incarnation u64, inode u64          WriteOpen
//   'X'   inode u64, name                     xattr value: its bytes, as set
//   'Z'   which u8                            0: Counter, format version; 1: ExecutorState

namespace sheaf::meta {

enum class Table : char {
  kAllocator = 'A',
  kCluster = 'C',
  kDentry = 'D',
  kDirectory = 'E',
  kInode = 'I',
  kRecord = 'K',
  kRecordLive = 'L',
  kUsage = 'N',
  kProjectUsage = 'Q',
  kResult = 'R',
  kSession = 'S',
  kTruncateIntent = 'T',
  kRemoval = 'U',
  kWriteOpen = 'W',
  kXattr = 'X',
  kStore = 'Z',
};

// Numbers that are handed out once and never again, durably.
enum class Sequence : uint8_t {
  kInode = 1,
  kDataId = 2,
  kIncarnation = 3,
  kRemovalEpoch = 4,
  kNode = 5,
  kTarget = 6,
  kChain = 7,
};

// Rows of the cluster manager. Values are protobuf messages of proto/cluster.proto where a message
// is named.
enum class ClusterRow : uint8_t {
  kIdentity = 1,        // id 0: the cluster's uuid, as text
  kNode = 2,            // Node
  kTarget = 3,          // Target
  kChain = 4,           // Chain
  kTable = 5,           // ChainTable, id = its version
  kMapVersion = 6,      // id 0: Counter
  kCurrentTable = 7,    // id 0: Counter, the version new files are laid out by
  kFenced = 8,          // id 0: FencedIncarnations
  kServiceSession = 9,  // id 0: Counter, the incarnation of the service's own session
};

// A half-open range of keys.
struct KeyRange {
  std::string begin;
  std::string end;
};

std::string AllocatorKey(Sequence which);
std::string ClusterKey(ClusterRow kind, uint64_t id = 0);
std::string DentryKey(InodeId parent, std::string_view name);
std::string DirectoryKey(InodeId parent, uint64_t cookie);
std::string InodeKey(InodeId inode);
std::string RecordKey(DataId record);
std::string RecordLiveKey(DataId record);
std::string UsageKey();
std::string ProjectUsageKey(uint32_t project);
std::string ResultKey(Incarnation session, uint64_t sequence);
std::string SessionKey(Incarnation session);
std::string TruncateIntentKey(InodeId inode);
std::string RemovalKey(RemovalEpoch epoch);
std::string WriteOpenKey(Incarnation session, InodeId inode);
std::string XattrKey(InodeId inode, std::string_view name);
std::string FormatVersionKey();
std::string ExecutorStateKey();

// Every row of a table.
KeyRange TableRange(Table table);
// Rows of a table whose first field, a u64, is `id`.
KeyRange IdRange(Table table, uint64_t id);
KeyRange ClusterRange(ClusterRow kind);

// The u64 at field `index` (0: right after the table byte) of a key made of u64 fields; kCorrupt
// when the key is too short. For ClusterKey the id is ClusterIdOf.
Result<uint64_t> KeyField(std::string_view key, size_t index);
Result<uint64_t> ClusterIdOf(std::string_view key);
// The name at the end of a DentryKey or XattrKey.
Result<std::string_view> KeyName(std::string_view key);

}  // namespace sheaf::meta
