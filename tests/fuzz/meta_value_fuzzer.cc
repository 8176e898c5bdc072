// Every decoder of meta/schema/values.h: the first byte chooses one, the rest is its input. What
// decodes must encode and decode to itself.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

template <typename Decode, typename Encode>
void RoundTrip(Decode decode, Encode encode, std::string_view bytes) {
  const auto value = decode(bytes);
  if (!value.ok()) return;
  const auto again = decode(encode(*value));
  CHECK(again.ok() && *again == *value, "a decoded value does not survive encoding");
}

void DecodeOne(uint8_t which, std::string_view bytes) {
  const auto inode = [](std::string_view input) { return DecodeInode(InodeId(1), input); };
  switch (which % 12) {
    case 0:
      return RoundTrip(inode, EncodeInode, bytes);
    case 1:
      return RoundTrip(DecodeDentry, EncodeDentry, bytes);
    case 2:
      return RoundTrip(DecodeDirectoryEntry, EncodeDirectoryEntry, bytes);
    case 3:
      return RoundTrip(DecodeSession, EncodeSession, bytes);
    case 4:
      return RoundTrip(DecodeWriteOpen, EncodeWriteOpen, bytes);
    case 5:
      return RoundTrip(DecodeResult, EncodeResult, bytes);
    case 6:
      return RoundTrip(DecodeRemoval, EncodeRemoval, bytes);
    case 7:
      return RoundTrip(DecodeTruncateIntent, EncodeTruncateIntent, bytes);
    case 8:
      return RoundTrip(DecodeUsage, EncodeUsage, bytes);
    case 9:
      return RoundTrip(DecodeExecutorState, EncodeExecutorState, bytes);
    case 10:
      return RoundTrip(DecodeCounter, EncodeCounter, bytes);
    default:
      (void)KeyField(bytes, 0).ok();
      (void)KeyField(bytes, 1).ok();
      (void)ClusterIdOf(bytes).ok();
      (void)KeyName(bytes).ok();
  }
}

}  // namespace
}  // namespace sheaf::meta

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  sheaf::meta::DecodeOne(data[0], {reinterpret_cast<const char*>(data + 1), size - 1});
  return 0;
}
