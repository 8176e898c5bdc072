#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "client/sheaf.h"
#include "tests/support/process_cluster.h"

namespace sheaf::testing {

// Bytes that tell their place: a function of the file offset and a salt.
inline std::vector<uint8_t> PatternAt(uint64_t offset, size_t size, uint64_t salt = 0) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    const uint64_t at = offset + i;
    bytes[i] = static_cast<uint8_t>(((at / 8 + salt) * 0x9e3779b97f4a7c15ull) >> (at % 8 * 8));
  }
  return bytes;
}

// A cluster of three servers and a client of it.
class ClusterFixture : public ::testing::Test {
 protected:
  void StartCluster(const ProcessCluster::Options& options = {}) {
    auto started = ProcessCluster::Start(options);
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    cluster_ = std::move(*started);
  }
  std::unique_ptr<Client> Connect(ClientOptions options = {}) {
    options.meta_address = cluster_->meta_address();
    auto client = Client::Connect(options);
    CHECK(client.ok(), client.status().ToString());
    return std::move(*client);
  }
  static std::shared_ptr<File> Open(Client& client, const std::string& path,
                                    int flags = O_RDWR | O_CREAT) {
    auto file = client.OpenPath(path, flags);
    CHECK(file.ok(), path + ": " + file.status().ToString());
    return *file;
  }
  static std::vector<uint8_t> ReadAll(File& file, uint64_t offset, size_t size) {
    std::vector<uint8_t> bytes(size, 0xee);
    const auto got = file.Read(offset, bytes);
    CHECK(got.ok(), got.status().ToString());
    bytes.resize(*got);
    return bytes;
  }

  std::unique_ptr<ProcessCluster> cluster_;
};

}  // namespace sheaf::testing
