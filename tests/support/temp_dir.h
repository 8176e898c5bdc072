#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "common/status.h"

namespace sheaf::testing {

// A fresh directory under TMPDIR, removed with all in it when the object goes.
class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/sheaf-test-XXXXXX";
    CHECK(mkdtemp(path_.data()) != nullptr, "cannot make " + path_);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace sheaf::testing
