#include "meta/check/findings.h"

namespace sheaf::meta {
namespace {

constexpr char kHex[] = "0123456789abcdef";

std::string Printable(std::string_view text) {
  std::string printable;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      printable += c;
      continue;
    }
    printable += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
  }
  return printable;
}

}  // namespace

void Findings::AddBadRow(std::string_view key, const std::string& why) {
  std::string hex;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    hex += {kHex[byte >> 4], kHex[byte & 15]};
  }
  Add(proto::BAD_ROW, "row " + hex + ": " + why, /*repairable=*/false);
}

std::string DentryText(InodeId parent, std::string_view name) {
  return "dentry " + ToString(parent) + "/" + Printable(name);
}

std::string InodeText(InodeId inode) { return "inode " + ToString(inode); }

}  // namespace sheaf::meta
