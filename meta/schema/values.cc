#include "meta/schema/values.h"

#include <utility>

#include "meta/schema/value_io.h"

namespace sheaf::meta {
namespace {

// Results hold one response; ReadDir, the largest, is no mutation.
constexpr size_t kMaxResultBytes = 1 << 20;

// Each Fields function lists a value's fields in their stored order, for ValueWriter and
// ValueReader alike. A field added later goes to the end under a higher version.

bool IsFileType(uint32_t type) {
  return S_ISREG(type) || S_ISDIR(type) || S_ISLNK(type) || S_ISCHR(type) || S_ISBLK(type) ||
         S_ISFIFO(type) || S_ISSOCK(type);
}

void LayoutFields(auto& io, auto& layout) {
  io.Varint(layout.chunk_size_log2);
  io.Varint(layout.stripe_width);
  io.Varint(layout.table_version);
  io.Fixed64(layout.seed);
}

bool IsChunkSize(uint32_t log2) { return log2 >= kMinChunkSizeLog2 && log2 <= kMaxChunkSizeLog2; }

void RegularFields(auto& io, auto& inode, uint8_t version) {
  io.Varint(inode.size);
  io.Id(inode.data_id);
  io.Id(inode.size_epoch);
  LayoutFields(io, inode.layout);
  io.Varint(inode.writers);
  if (version >= 2) io.Varint(inode.append_end);
  io.Require(inode.size <= kMaxFileSize, "size");
  io.Require(inode.append_end <= kMaxFileSize, "append end");
  io.Require(inode.data_id.IsSet(), "data id");
  io.Require(IsChunkSize(inode.layout.chunk_size_log2), "chunk size");
}

void DirectoryFields(auto& io, auto& inode) {
  io.Id(inode.parent);
  io.Varint(inode.next_cookie);
  io.Varint(inode.entries);
  io.Varint(inode.chunk_size_log2);
  io.Varint(inode.run_next);
  io.Varint(inode.run_end);
  io.Require(inode.next_cookie >= kFirstCookie, "cookie");
  io.Require(IsChunkSize(inode.chunk_size_log2), "chunk size");
  io.Require(inode.run_next <= inode.run_end, "inode run");
}

void InodeFields(auto& io, auto& inode) {
  const uint8_t version = io.Version(2);
  io.Varint(inode.mode);
  io.Varint(inode.nlink);
  io.Varint(inode.uid);
  io.Varint(inode.gid);
  io.Varint(inode.project_id);
  io.Varint(inode.flags);
  io.Varint(inode.version);
  io.Fixed64(inode.atime_ns);
  io.Fixed64(inode.mtime_ns);
  io.Fixed64(inode.ctime_ns);
  io.Fixed64(inode.btime_ns);
  io.Require(IsFileType(inode.mode) && inode.mode <= 0177777, "mode");
  if (inode.IsRegular()) RegularFields(io, inode, version);
  if (inode.IsDirectory()) DirectoryFields(io, inode);
  if (inode.IsSymlink()) io.Text(inode.target, kMaxSymlinkBytes);
  if (inode.IsDevice()) io.Varint(inode.rdev);
}

void DentryFields(auto& io, auto& dentry) {
  io.Version(1);
  io.Id(dentry.inode);
  io.Varint(dentry.type);
  io.Varint(dentry.cookie);
  io.Require(IsFileType(dentry.type), "type");
}

void DirectoryEntryFields(auto& io, auto& row) {
  io.Version(1);
  io.Id(row.inode);
  io.Varint(row.type);
  io.Text(row.name, kMaxNameBytes);
  io.Require(IsFileType(row.type), "type");
  io.Require(!row.name.empty(), "name");
}

void SessionFields(auto& io, auto& session) {
  io.Version(1);
  io.Text(session.description, kMaxDescriptionBytes);
  io.Fixed64(session.opened_ns);
  io.Varint(session.acked_removal_epoch);
  uint8_t fenced = session.fenced ? 1 : 0;
  io.Varint(fenced);
  if constexpr (std::remove_reference_t<decltype(io)>::kReading) session.fenced = fenced != 0;
}

void ResultFields(auto& io, auto& result) {
  io.Version(1);
  io.Varint(result.lowest_outstanding);
  auto code = static_cast<uint32_t>(result.code);
  io.Varint(code);
  io.Text(result.body, kMaxResultBytes);
  if constexpr (std::remove_reference_t<decltype(io)>::kReading) result.code = CodeFromNumber(code);
}

void RemovalFields(auto& io, auto& removal) {
  using Kind = Removal::Kind;
  io.Version(1);
  auto kind = static_cast<uint8_t>(removal.kind);
  io.Varint(kind);
  if constexpr (std::remove_reference_t<decltype(io)>::kReading) {
    io.Require(
        kind == static_cast<uint8_t>(Kind::kInode) || kind == static_cast<uint8_t>(Kind::kData),
        "removal kind");
    removal.kind = static_cast<Kind>(kind);
  }
  io.Id(removal.inode);
  io.Id(removal.data_id);
  LayoutFields(io, removal.layout);
  io.Varint(removal.size);
}

void TruncateIntentFields(auto& io, auto& intent) {
  io.Version(1);
  io.Id(intent.size_epoch);
  io.Id(intent.data_id);
  LayoutFields(io, intent.layout);
  io.Varint(intent.keep_bytes);
  io.Varint(intent.old_bytes);
  io.Require(IsChunkSize(intent.layout.chunk_size_log2), "chunk size");
  io.Require(intent.keep_bytes <= intent.old_bytes && intent.old_bytes <= kMaxFileSize, "length");
}

void WriteOpenFields(auto& io, auto& open) {
  io.Version(1);
  io.Varint(open.count);
}

void UsageFields(auto& io, auto& usage) {
  io.Version(1);
  io.Varint(usage.inodes);
  io.Varint(usage.bytes);
}

void ExecutorStateFields(auto& io, auto& state) {
  io.Version(1);
  io.Varint(state.term);
  io.Varint(state.index);
}

void CounterFields(auto& io, auto& value) {
  io.Version(1);
  io.Varint(value);
}

template <typename Fields, typename T>
std::string Encode(Fields fields, const T& value) {
  ValueWriter writer;
  fields(writer, value);
  return writer.Take();
}

template <typename T, typename Fields>
Result<T> Decode(const char* what, Fields fields, std::string_view bytes) {
  ValueReader reader(what, bytes);
  T value{};
  fields(reader, value);
  RETURN_IF_ERROR(reader.Finish());
  return value;
}

}  // namespace

// The generic lambda lets one Fields function be handed over for both directions.
#define SHEAF_FIELDS(function) [](auto& io, auto& fields) { function(io, fields); }

std::string EncodeInode(const Inode& inode) { return Encode(SHEAF_FIELDS(InodeFields), inode); }
std::string EncodeDentry(const Dentry& dentry) {
  return Encode(SHEAF_FIELDS(DentryFields), dentry);
}
std::string EncodeDirectoryEntry(const DirectoryEntryRow& row) {
  return Encode(SHEAF_FIELDS(DirectoryEntryFields), row);
}
std::string EncodeSession(const Session& session) {
  return Encode(SHEAF_FIELDS(SessionFields), session);
}
std::string EncodeWriteOpen(const WriteOpen& open) {
  return Encode(SHEAF_FIELDS(WriteOpenFields), open);
}
std::string EncodeResult(const StoredResult& result) {
  return Encode(SHEAF_FIELDS(ResultFields), result);
}
std::string EncodeRemoval(const Removal& removal) {
  return Encode(SHEAF_FIELDS(RemovalFields), removal);
}
std::string EncodeTruncateIntent(const TruncateIntent& intent) {
  return Encode(SHEAF_FIELDS(TruncateIntentFields), intent);
}
std::string EncodeUsage(const Usage& usage) { return Encode(SHEAF_FIELDS(UsageFields), usage); }
std::string EncodeExecutorState(const ExecutorState& state) {
  return Encode(SHEAF_FIELDS(ExecutorStateFields), state);
}
std::string EncodeCounter(uint64_t value) { return Encode(SHEAF_FIELDS(CounterFields), value); }

Result<Inode> DecodeInode(InodeId id, std::string_view bytes) {
  Result<Inode> inode = Decode<Inode>("inode", SHEAF_FIELDS(InodeFields), bytes);
  if (inode.ok()) inode->id = id;
  return inode;
}
Result<Dentry> DecodeDentry(std::string_view bytes) {
  return Decode<Dentry>("dentry", SHEAF_FIELDS(DentryFields), bytes);
}
Result<DirectoryEntryRow> DecodeDirectoryEntry(std::string_view bytes) {
  return Decode<DirectoryEntryRow>("directory entry", SHEAF_FIELDS(DirectoryEntryFields), bytes);
}
Result<Session> DecodeSession(std::string_view bytes) {
  return Decode<Session>("session", SHEAF_FIELDS(SessionFields), bytes);
}
Result<WriteOpen> DecodeWriteOpen(std::string_view bytes) {
  return Decode<WriteOpen>("write-open", SHEAF_FIELDS(WriteOpenFields), bytes);
}
Result<StoredResult> DecodeResult(std::string_view bytes) {
  return Decode<StoredResult>("stored result", SHEAF_FIELDS(ResultFields), bytes);
}
Result<Removal> DecodeRemoval(std::string_view bytes) {
  return Decode<Removal>("removal", SHEAF_FIELDS(RemovalFields), bytes);
}
Result<TruncateIntent> DecodeTruncateIntent(std::string_view bytes) {
  return Decode<TruncateIntent>("truncate intent", SHEAF_FIELDS(TruncateIntentFields), bytes);
}
Result<Usage> DecodeUsage(std::string_view bytes) {
  return Decode<Usage>("usage", SHEAF_FIELDS(UsageFields), bytes);
}
Result<ExecutorState> DecodeExecutorState(std::string_view bytes) {
  return Decode<ExecutorState>("executor state", SHEAF_FIELDS(ExecutorStateFields), bytes);
}
Result<uint64_t> DecodeCounter(std::string_view bytes) {
  return Decode<uint64_t>("counter", SHEAF_FIELDS(CounterFields), bytes);
}

#undef SHEAF_FIELDS

}  // namespace sheaf::meta
