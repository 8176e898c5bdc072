// The decoders of the chunk index: keys, heads, pages. The input is a key length, a key and a
// value; the value's checksum is put right, so that the fields behind it are reached.

#include <algorithm>
#include <string>

#include "common/crc32c.h"
#include "storage/engine/chunk_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sheaf;
  using namespace sheaf::storage;
  if (size < 1) return 0;
  const size_t key_size = std::min<size_t>(data[0], size - 1);
  const std::string key(reinterpret_cast<const char*>(data + 1), key_size);
  std::string value(reinterpret_cast<const char*>(data + 1 + key_size), size - 1 - key_size);
  (void)DecodeIndexKey(key);
  (void)DecodeHead(key, value);
  const std::string covered = key + value;
  const uint32_t crc =
      Crc32c({reinterpret_cast<const uint8_t*>(covered.data()), covered.size()});
  value.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  (void)DecodeTarget(value);
  auto head = DecodeHead(key, value);
  auto page = DecodePage(key, value);
  if (page.ok()) {
    // What was accepted is written the same way again.
    auto again = DecodePage(key, EncodePage(key, **page));
    CHECK(again.ok() && (*again)->blocks == (*page)->blocks &&
              (*again)->unit_crcs == (*page)->unit_crcs,
          "a page changes when it is written again");
  }
  return 0;
}
