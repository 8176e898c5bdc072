#include "common/facts.h"

namespace sheaf {
namespace {

constexpr char kHex[] = "0123456789abcdef";

std::string Escaped(std::string_view text, std::string_view before_byte) {
  std::string escaped = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      escaped += {'\\', c};
    } else if (byte >= 0x20 && byte < 0x7f) {
      escaped += c;
    } else {
      escaped += before_byte;
      escaped += {kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return escaped + "\"";
}

}  // namespace

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += {kHex[byte >> 4], kHex[byte & 15]};
  }
  return hex;
}

Facts& Facts::Add(std::string_view name, std::string_view text) {
  facts_.push_back({std::string(name), std::string(text), true});
  return *this;
}

Facts& Facts::AddRaw(std::string_view name, std::string value) {
  facts_.push_back({std::string(name), std::move(value), false});
  return *this;
}

std::string Facts::Text() const {
  std::string line;
  for (const Fact& fact : facts_) {
    if (!line.empty()) line += ' ';
    line += fact.name + "=" + (fact.is_text ? Escaped(fact.value, "\\x") : fact.value);
  }
  return line;
}

std::string Facts::Json() const {
  std::string line = "{";
  for (const Fact& fact : facts_) {
    if (line.size() > 1) line += ", ";
    line += "\"" + fact.name + "\": ";
    line += fact.is_text ? Escaped(fact.value, "\\u00") : fact.value;
  }
  return line + "}";
}

}  // namespace sheaf
