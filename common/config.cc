#include "common/config.h"

#include <fcntl.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <set>
#include <sstream>

#include "common/fd.h"

namespace sheaf {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

// What a node is, in words for an error.
std::string Describe(const toml::node& node) {
  std::ostringstream text;
  if (auto value = node.as_string()) {
    text << '"' << value->get() << '"';
  } else if (auto number = node.as_integer()) {
    text << number->get();
  } else if (auto flag = node.as_boolean()) {
    text << (flag->get() ? "true" : "false");
  } else {
    text << "a value of type " << node.type();
  }
  return text.str();
}

struct Key {
  std::string path;  // dotted, as Read is asked for it
  toml::source_index line = 0;
};

void CollectKeys(const toml::table& table, const std::string& prefix, std::vector<Key>* keys) {
  for (const auto& [key, node] : table) {
    // A quoted key with a dot in it is not the key of a table: it has no path that Read knows.
    const std::string name(key.str());
    const std::string path = prefix + (name.find('.') == name.npos ? name : '"' + name + '"');
    if (const toml::table* inner = node.as_table()) {
      CollectKeys(*inner, path + ".", keys);
    } else {
      keys->push_back({path, node.source().begin.line});
    }
  }
}

}  // namespace

struct ConfigFile::Impl {
  toml::table table;
  std::string name;
  std::set<std::string> known;  // every key asked for
  Status first_error;

  const toml::node* Find(std::string_view key) {
    known.emplace(key);
    return table.at_path(key).node();
  }

  void Fail(std::string_view key, const toml::node& node, const std::string& accepted) {
    if (!first_error.ok()) return;
    first_error = {Code::kUsage, "config " + name + " line " +
                                     std::to_string(node.source().begin.line) + ": " +
                                     std::string(key) + " = " + Describe(node) + ": " + accepted};
  }

  std::optional<int64_t> Integer(std::string_view key, int64_t min, int64_t max) {
    const toml::node* node = Find(key);
    if (node == nullptr) return std::nullopt;
    const auto* number = node->as_integer();
    if (number == nullptr || number->get() < min || number->get() > max) {
      Fail(key, *node,
           "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
      return std::nullopt;
    }
    return number->get();
  }
};

ConfigFile::ConfigFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConfigFile::ConfigFile(ConfigFile&&) noexcept = default;
ConfigFile& ConfigFile::operator=(ConfigFile&&) noexcept = default;
ConfigFile::~ConfigFile() = default;

Result<ConfigFile> ConfigFile::Load(const std::string& path) {
  const std::string what = "config " + path + ": cannot be read";
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.IsOpen()) return Status(Code::kUsage, Status::FromErrno(errno, what).message());
  std::string text(kMaxFileBytes, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status(Code::kUsage, Status::FromErrno(errno, what).message());
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size == text.size()) {
    return Status(Code::kUsage, what + ": larger than " + std::to_string(kMaxFileBytes) + " bytes");
  }
  return Parse(std::string_view(text).substr(0, size), path);
}

Result<ConfigFile> ConfigFile::Parse(std::string_view text, const std::string& name) {
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  try {
    impl->table = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return Status(Code::kUsage, "config " + name + " line " +
                                    std::to_string(error.source().begin.line) + ": not TOML: " +
                                    std::string(error.description()));
  }
  return ConfigFile(std::move(impl));
}

void ConfigFile::Read(std::string_view key, std::string* value) {
  const toml::node* node = impl_->Find(key);
  if (node == nullptr) return;
  if (const auto* text = node->as_string()) {
    *value = text->get();
  } else {
    impl_->Fail(key, *node, "must be a string in quotes");
  }
}

void ConfigFile::Read(std::string_view key, bool* value) {
  const toml::node* node = impl_->Find(key);
  if (node == nullptr) return;
  if (const auto* flag = node->as_boolean()) {
    *value = flag->get();
  } else {
    impl_->Fail(key, *node, "must be true or false");
  }
}

void ConfigFile::Read(std::string_view key, std::vector<std::string>* value) {
  const toml::node* node = impl_->Find(key);
  if (node == nullptr) return;
  const toml::array* array = node->as_array();
  std::vector<std::string> texts;
  if (array != nullptr) {
    for (const toml::node& entry : *array) {
      if (const auto* text = entry.as_string()) texts.push_back(text->get());
    }
  }
  if (array == nullptr || texts.size() != array->size()) {
    impl_->Fail(key, *node, "must be a list of strings in quotes");
    return;
  }
  *value = std::move(texts);
}

void ConfigFile::Read(std::string_view key, int64_t* value, int64_t min, int64_t max) {
  if (auto number = impl_->Integer(key, min, max)) *value = *number;
}

void ConfigFile::Read(std::string_view key, uint32_t* value, uint32_t min, uint32_t max) {
  if (auto number = impl_->Integer(key, min, max)) *value = static_cast<uint32_t>(*number);
}

void ConfigFile::Read(std::string_view key, uint64_t* value, uint64_t min, uint64_t max) {
  // TOML's integers are signed.
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  auto number = impl_->Integer(key, static_cast<int64_t>(std::min(min, kMost)),
                               static_cast<int64_t>(std::min(max, kMost)));
  if (number.has_value()) *value = static_cast<uint64_t>(*number);
}

Status ConfigFile::Finish() {
  RETURN_IF_ERROR(impl_->first_error);
  std::vector<Key> keys;
  CollectKeys(impl_->table, "", &keys);
  for (const Key& key : keys) {
    if (impl_->known.contains(key.path)) continue;
    std::string accepted;
    for (const std::string& each : impl_->known) accepted += (accepted.empty() ? "" : ", ") + each;
    return {Code::kUsage, "config " + impl_->name + " line " + std::to_string(key.line) +
                              ": unknown key \"" + key.path + "\"; known are " + accepted};
  }
  return Status::Ok();
}

}  // namespace sheaf
