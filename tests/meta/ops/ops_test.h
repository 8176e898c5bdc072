#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_kv.h"
#include "tests/support/test_meta.h"

namespace sheaf::meta {

inline constexpr uint64_t kRoot = 1;
inline constexpr uint32_t kAlice = 1000;
inline constexpr uint32_t kBob = 1001;

// A fresh file system in memory. Tests begin as the superuser.
class OpsTest : public ::testing::Test {
 protected:
  FakeClock clock_;
  MemoryKv kv_;
  TestMeta meta_{kv_, {.clock = &clock_}};

  uint64_t MakeDir(uint64_t parent, const std::string& name, uint32_t mode = 0755) {
    return meta_.Mkdir(parent, name, mode).value().inode();
  }
  uint64_t MakeFile(uint64_t parent, const std::string& name, uint32_t mode = 0644) {
    return meta_.Create(parent, name, mode).value().attr().inode();
  }
  // A directory anyone may change.
  uint64_t MakePublic(const std::string& name, uint32_t mode = 0777) {
    const uint64_t inode = MakeDir(kRoot, name);
    EXPECT_TRUE(meta_.Chmod(inode, mode).ok());
    return inode;
  }
  proto::Attr Attr(uint64_t inode) { return meta_.GetAttr(inode).value(); }
  void Tick() { clock_.Advance(std::chrono::seconds(1)); }
};

template <typename T>
Code CodeOf(const Result<T>& result) {
  return result.status().code();
}
inline Code CodeOf(const Status& status) { return status.code(); }

}  // namespace sheaf::meta
