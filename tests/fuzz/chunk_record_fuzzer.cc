// The decoders of the chunk index: keys, heads, pages, stream rows. The input is a key length, a key and a
// value; the value's checksum is put right, so that the fields behind it are reached. What is
// accepted is written the same way again.

#include <algorithm>
#include <cstring>
#include <string>

#include "common/crc32c.h"
#include "storage/engine/chunk_format.h"

namespace sheaf::storage {
namespace {

void FuzzKey(const std::string& key) {
  const auto decoded = DecodeIndexKey(key);
  if (!decoded.ok()) return;
  const std::string again = decoded->kind == KeyKind::kPage ? PageKey(decoded->chunk, decoded->page)
                                                            : HeadKey(decoded->chunk);
  CHECK(again == key, "a key changes when it is written again");
}

void FuzzTarget(const std::string& value) {
  const auto slab_bytes = DecodeTarget(value);
  if (slab_bytes.ok()) CHECK(EncodeTarget(*slab_bytes) == value, "a target record changes");
}

void FuzzStreamRow(const std::string& key, const std::string& value) {
  const auto row = DecodeStreamRow(key, value);
  if (!row.ok()) return;
  CHECK(StreamRowKey(*row) == key, "a stream row's key changes when it is written again");
  CHECK(EncodeStreamRow(key, *row) == value, "a stream row changes when it is written again");
}

void FuzzPage(const std::string& key, const std::string& value) {
  const auto page = DecodePage(key, value);
  if (!page.ok()) return;
  const auto again = DecodePage(key, EncodePage(key, **page));
  CHECK(again.ok() && (*again)->blocks == (*page)->blocks &&
            (*again)->unit_crcs == (*page)->unit_crcs,
        "a page changes when it is written again");
}

// Of a chunk whose one page is in its head: the others need their pages.
void FuzzHead(const std::string& key, const std::string& value) {
  const auto head = DecodeHead(key, value);
  if (!head.ok() || ChunkRecord::PagesFor(head->fields.length) > 1) return;
  ChunkRecord record;
  record.length = head->fields.length;
  record.chunk_size = uint32_t{1} << head->fields.chunk_size_log2;
  record.version = ChunkVersion(head->fields.version);
  record.chain_version = ChainVersion(head->fields.chain_version);
  record.checksum = head->fields.checksum;
  if (head->inline_page != nullptr) record.pages = {head->inline_page};
  const auto again = DecodeHead(key, EncodeHead(key, record));
  CHECK(again.ok(), again.status().ToString());
  CHECK(std::memcmp(&again->fields, &head->fields, sizeof(DiskHead)) == 0,
        "a head changes when it is written again");
}

}  // namespace
}  // namespace sheaf::storage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sheaf;
  using namespace sheaf::storage;
  if (size < 1) return 0;
  const size_t key_size = std::min<size_t>(data[0], size - 1);
  const std::string key(reinterpret_cast<const char*>(data + 1), key_size);
  std::string value(reinterpret_cast<const char*>(data + 1 + key_size), size - 1 - key_size);
  (void)DecodeHead(key, value);
  const std::string covered = key + value;
  const uint32_t crc = Crc32c({reinterpret_cast<const uint8_t*>(covered.data()), covered.size()});
  value.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  FuzzKey(key);
  FuzzTarget(value);
  FuzzHead(key, value);
  FuzzPage(key, value);
  FuzzStreamRow(key, value);
  return 0;
}
