#include "meta/schema/keys.h"

#include <cstddef>

namespace sheaf::meta {
namespace {

// Appends fields to a key, integers big-endian.
class KeyBuilder {
 public:
  explicit KeyBuilder(Table table) : key_(1, static_cast<char>(table)) {}

  KeyBuilder& U8(uint8_t value) { return Append(value, 1); }
  KeyBuilder& U32(uint32_t value) { return Append(value, 4); }
  KeyBuilder& U64(uint64_t value) { return Append(value, 8); }
  KeyBuilder& Name(std::string_view name) {
    key_.append(name);
    return *this;
  }
  std::string Take() { return std::move(key_); }

 private:
  KeyBuilder& Append(uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
      key_.push_back(static_cast<char>(value >> shift));
    }
    return *this;
  }

  std::string key_;
};

// The first key that does not begin with `prefix`. REQUIRES: a prefix byte below 0xff, which the
// table byte is.
std::string PrefixEnd(std::string prefix) {
  while (static_cast<uint8_t>(prefix.back()) == 0xff) prefix.pop_back();
  prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  return prefix;
}

KeyRange PrefixRange(std::string prefix) { return {prefix, PrefixEnd(prefix)}; }

Result<uint64_t> U64At(std::string_view key, size_t offset) {
  if (key.size() < offset + 8) {
    return Status(Code::kCorrupt, "read key: too short (" + std::to_string(key.size()) + " bytes)");
  }
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(key[offset + i]);
  return value;
}

}  // namespace

std::string AllocatorKey(Sequence which) {
  return KeyBuilder(Table::kAllocator).U8(static_cast<uint8_t>(which)).Take();
}

std::string ClusterKey(ClusterRow kind, uint64_t id) {
  return KeyBuilder(Table::kCluster).U8(static_cast<uint8_t>(kind)).U64(id).Take();
}

std::string DentryKey(InodeId parent, std::string_view name) {
  return KeyBuilder(Table::kDentry).U64(parent.value()).Name(name).Take();
}

std::string DirectoryKey(InodeId parent, uint64_t cookie) {
  return KeyBuilder(Table::kDirectory).U64(parent.value()).U64(cookie).Take();
}

std::string InodeKey(InodeId inode) { return KeyBuilder(Table::kInode).U64(inode.value()).Take(); }

std::string RecordKey(DataId record) {
  return KeyBuilder(Table::kRecord).U64(record.value()).Take();
}

std::string RecordLiveKey(DataId record) {
  return KeyBuilder(Table::kRecordLive).U64(record.value()).Take();
}

std::string UsageKey() { return KeyBuilder(Table::kUsage).Take(); }

std::string ProjectUsageKey(uint32_t project) {
  return KeyBuilder(Table::kProjectUsage).U32(project).Take();
}

std::string ResultKey(Incarnation session, uint64_t sequence) {
  return KeyBuilder(Table::kResult).U64(session.value()).U64(sequence).Take();
}

std::string SessionKey(Incarnation session) {
  return KeyBuilder(Table::kSession).U64(session.value()).Take();
}

std::string TruncateIntentKey(InodeId inode) {
  return KeyBuilder(Table::kTruncateIntent).U64(inode.value()).Take();
}

std::string RemovalKey(RemovalEpoch epoch) {
  return KeyBuilder(Table::kRemoval).U64(epoch.value()).Take();
}

std::string WriteOpenKey(Incarnation session, InodeId inode) {
  return KeyBuilder(Table::kWriteOpen).U64(session.value()).U64(inode.value()).Take();
}

std::string XattrKey(InodeId inode, std::string_view name) {
  return KeyBuilder(Table::kXattr).U64(inode.value()).Name(name).Take();
}

std::string FormatVersionKey() { return KeyBuilder(Table::kStore).U8(0).Take(); }
std::string ExecutorStateKey() { return KeyBuilder(Table::kStore).U8(1).Take(); }

KeyRange TableRange(Table table) { return PrefixRange(KeyBuilder(table).Take()); }

KeyRange IdRange(Table table, uint64_t id) { return PrefixRange(KeyBuilder(table).U64(id).Take()); }

KeyRange ClusterRange(ClusterRow kind) {
  return PrefixRange(KeyBuilder(Table::kCluster).U8(static_cast<uint8_t>(kind)).Take());
}

Result<uint64_t> KeyField(std::string_view key, size_t index) { return U64At(key, 1 + 8 * index); }

Result<uint64_t> ClusterIdOf(std::string_view key) { return U64At(key, 2); }

Result<std::string_view> KeyName(std::string_view key) {
  if (key.size() <= 9) {
    return Status(Code::kCorrupt, "read key: no name (" + std::to_string(key.size()) + " bytes)");
  }
  return key.substr(9);
}

}  // namespace sheaf::meta
