// What lies on disks: values of the metadata store, keys and records of the chunk index.

#include <memory>

#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "storage/engine/chunk_format.h"
#include "tests/fuzz/corpus.h"

namespace sheaf::fuzz {
namespace {

meta::Inode InodeOf(uint32_t mode) {
  meta::Inode inode{.id = InodeId(7), .mode = mode, .nlink = 1, .uid = 1000, .version = 3};
  inode.mtime_ns = 1'700'000'000'000'000'000;
  inode.data_id = DataId(42);
  inode.size = 5000;
  inode.size_epoch = SizeEpoch(1);
  inode.append_end = 9000;
  inode.layout = {.chunk_size_log2 = 22, .table_version = 1, .seed = 0x123456789};
  inode.parent = kRootInode;
  inode.chunk_size_log2 = 22;
  inode.target = "../elsewhere";
  inode.rdev = 0x0103;
  return inode;
}

// The first byte chooses the decoder as meta_value_fuzzer does.
void WriteMetaInputs(const std::filesystem::path& root) {
  const auto put = [&root](char which, const std::string& name, const std::string& bytes) {
    WriteInput(root, "meta_value", name, which + bytes);
  };
  put(0, "regular", meta::EncodeInode(InodeOf(0100644)));
  std::string version_one = meta::EncodeInode(InodeOf(0100644));
  version_one[0] = 1;
  version_one.resize(version_one.size() - 2);  // without the end of the last reservation
  put(0, "regular-1", version_one);
  put(0, "directory", meta::EncodeInode(InodeOf(0040755)));
  put(0, "symlink", meta::EncodeInode(InodeOf(0120777)));
  put(0, "device", meta::EncodeInode(InodeOf(0020600)));
  put(0, "pipe", meta::EncodeInode(InodeOf(0010600)));
  put(1, "dentry", meta::EncodeDentry({.inode = InodeId(7), .type = S_IFREG, .cookie = 3}));
  put(2, "directory-entry",
      meta::EncodeDirectoryEntry({.inode = InodeId(7), .type = S_IFREG, .name = "ab"}));
  put(3, "session",
      meta::EncodeSession({.description = "host job 12", .opened_ns = 1, .fenced = true}));
  put(4, "write-open", meta::EncodeWriteOpen({.count = 2}));
  put(5, "result",
      meta::EncodeResult({.lowest_outstanding = 9, .code = Code::kOk, .body = "response"}));
  put(5, "error", meta::EncodeResult({.code = Code::kExists, .body = "create 1/ab: it exists"}));
  put(6, "removal",
      meta::EncodeRemoval({.kind = meta::Removal::Kind::kData,
                           .inode = InodeId(7),
                           .data_id = DataId(42),
                           .layout = {.table_version = 1},
                           .size = 5000}));
  put(7, "intent",
      meta::EncodeTruncateIntent({.size_epoch = SizeEpoch(2),
                                  .data_id = DataId(42),
                                  .layout = {.table_version = 1},
                                  .keep_bytes = 100,
                                  .old_bytes = 5000}));
  put(8, "usage", meta::EncodeUsage({.inodes = 3, .bytes = 5000}));
  put(9, "state", meta::EncodeExecutorState({.term = 1, .index = 300}));
  put(10, "counter", meta::EncodeCounter(300));
  put(11, "dentry-key", meta::DentryKey(kRootInode, "ab"));
  put(11, "result-key", meta::ResultKey(Incarnation(5), 300));
  put(11, "cluster-key", meta::ClusterKey(meta::ClusterRow::kChain, 7));
}

std::shared_ptr<const storage::ChunkPage> PageOf(std::initializer_list<uint32_t> blocks) {
  auto page = std::make_shared<storage::ChunkPage>();
  uint32_t at = 0;
  for (uint32_t block : blocks) {
    page->blocks[at] = block;
    for (uint32_t unit = 0; unit < storage::kUnitsPerBlock; ++unit) {
      page->unit_crcs[at * storage::kUnitsPerBlock + unit] = block * 31 + unit;
    }
    at += 2 - block % 2;  // runs and gaps
  }
  page->Seal();
  return page;
}

// chunk_record_fuzzer takes a key's length, the key, and a value whose checksum it makes itself.
void WriteChunkInputs(const std::filesystem::path& root) {
  const storage::Engine::ChunkKey chunk{ChainId(7), {DataId(42), 3}};
  const auto put = [&root](const std::string& name, const std::string& key, std::string value) {
    value.resize(value.size() - storage::kValueCrcBytes);
    WriteInput(root, "chunk_record", name, static_cast<char>(key.size()) + key + value);
  };
  storage::ChunkRecord record;
  record.length = 5000;
  record.chunk_size = 4 << 20;
  record.version = ChunkVersion(1);
  record.chain_version = ChainVersion(1);
  record.pages = {PageOf({9})};
  record.checksum = record.ComputeChecksum();
  const std::string head = HeadKey(chunk);
  put("small", head, EncodeHead(head, record));
  record.length = 3 * storage::kPageBytes;
  record.pages = {PageOf({3, 5, 6, 7}), nullptr, PageOf({100})};
  record.checksum = record.ComputeChecksum();
  put("large", head, EncodeHead(head, record));
  const std::string page = PageKey(chunk, 2);
  put("page", page, EncodePage(page, *record.pages[0]));
  put("target", storage::TargetKey(), storage::EncodeTarget(256 << 20));
  const storage::Engine::StreamRow row{.chain = ChainId(7),
                                       .incarnation = Incarnation(66),
                                       .stream = 2,
                                       .sequence = 9,
                                       .fingerprint = 0x1122334455667788,
                                       .done = true,
                                       .version = ChunkVersion(3),
                                       .chunk_length = 5000};
  const std::string row_key = StreamRowKey(row);
  put("stream_row", row_key, EncodeStreamRow(row_key, row));
}

}  // namespace

void WriteDiskInputs(const std::filesystem::path& root) {
  WriteMetaInputs(root);
  WriteChunkInputs(root);
}

}  // namespace sheaf::fuzz
