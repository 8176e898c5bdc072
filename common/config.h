#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace sheaf {

// Reads a TOML file into a plain struct with defaults. Every error is kUsage and names file, key,
// value and what is accepted.
//
//   ASSIGN_OR_RETURN(auto file, ConfigFile::Load(path));
//   file.Read("listen", &config.listen);
//   file.Read("engine.cache_mib", &config.cache_mib, 1, 65536);
//   RETURN_IF_ERROR(file.Finish());   // first bad value, else the first key nobody read
class ConfigFile {
 public:
  static Result<ConfigFile> Load(const std::string& path);
  // `name` stands for the path in errors.
  static Result<ConfigFile> Parse(std::string_view text, const std::string& name);

  ConfigFile(ConfigFile&&) noexcept;
  ConfigFile& operator=(ConfigFile&&) noexcept;
  ~ConfigFile();

  // Each leaves `value` alone when the key (dotted for tables) is absent.
  void Read(std::string_view key, std::string* value);
  void Read(std::string_view key, bool* value);
  void Read(std::string_view key, std::vector<std::string>* value);
  // Bounds are inclusive.
  void Read(std::string_view key, int64_t* value, int64_t min, int64_t max);
  void Read(std::string_view key, uint32_t* value, uint32_t min, uint32_t max);
  void Read(std::string_view key, uint64_t* value, uint64_t min, uint64_t max);

  Status Finish();

 private:
  struct Impl;
  explicit ConfigFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf
