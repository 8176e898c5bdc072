#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "client/file/file_ops.h"
#include "client/file/open_file.h"
#include "tests/client/fake_storage.h"
#include "tests/client/meta/fake_services.h"

namespace sheaf::client {

// One file, inode 9, of 64 KiB chunks over a fake metadata service and fake storage.
class FileRig : public ::testing::Test {
 protected:
  static constexpr uint64_t kChunk = uint64_t{1} << kMinChunkSizeLog2;

  explicit FileRig(const FileOps::Options& options) : cluster_(services_.server->address()) {
    proto::Attr& file = services_.meta.file;
    file.set_inode(9);
    file.set_mode(S_IFREG | 0644);
    file.set_data_id(50);
    file.set_size_epoch(1);
    file.set_version(1);
    file.mutable_layout()->set_chunk_size_log2(kMinChunkSizeLog2);
    file.mutable_layout()->set_table_version(1);
    services_.meta.on_cut = [this](uint64_t size) {
      storage_.Trim(services_.meta.file.data_id(), kChunk, size);
    };
    auto session = Session::Open(cluster_, "test", inodes_);
    CHECK(session.ok(), session.status().ToString());
    session_ = std::move(*session);
    meta_ = std::make_unique<MetaClient>(services_.server->address(),
                                         std::chrono::milliseconds(30'000), *session_);
    ChunkClient::Options chunks;
    chunks.backoff_max = std::chrono::milliseconds(5);
    chunks_ = std::make_unique<ChunkClient>(chunks, storage_, storage_);
    ops_ = std::make_unique<FileOps>(options, *meta_, *chunks_, storage_, inodes_, [](InodeId) {});
  }
  std::shared_ptr<File> Open(int flags = O_RDWR) {
    auto file = ops_->Open({}, InodeId(9), flags);
    CHECK(file.ok(), file.status().ToString());
    return *file;
  }
  static std::vector<uint8_t> Bytes(size_t size, uint8_t first = 1) {
    std::vector<uint8_t> bytes(size);
    std::iota(bytes.begin(), bytes.end(), first);
    return bytes;
  }
  static std::vector<uint8_t> ReadAll(File& file, uint64_t offset, size_t size) {
    std::vector<uint8_t> bytes(size, 0xee);
    const auto read = file.Read(offset, bytes);
    CHECK(read.ok(), read.status().ToString());
    bytes.resize(*read);
    return bytes;
  }
  std::vector<std::string> Calls() {
    const std::lock_guard lock(services_.meta.mutex);
    return services_.meta.calls;
  }
  uint64_t ReportedLength() {
    const std::lock_guard lock(services_.meta.mutex);
    return services_.meta.file.size();
  }
  size_t WritesSeen() {
    const auto seen = storage_.seen_calls();
    return static_cast<size_t>(std::count_if(seen.begin(), seen.end(), [](const auto& call) {
      return call.method == transport::Method::kWrite;
    }));
  }
  // What the chains have of the file's first `size` bytes.
  std::vector<uint8_t> Stored(uint64_t data_id, size_t size) {
    std::vector<uint8_t> bytes(size);
    for (uint64_t at = 0; at < size; at += kChunk) {
      const auto chunk = storage_.chunk(data_id, static_cast<uint32_t>(at / kChunk));
      std::copy_n(chunk.begin(), std::min<uint64_t>(chunk.size(), size - at),
                  bytes.begin() + static_cast<ptrdiff_t>(at));
    }
    return bytes;
  }

  FakeServices services_;
  ClusterClient cluster_;
  InodeTable inodes_;
  FakeStorage storage_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<MetaClient> meta_;
  std::unique_ptr<ChunkClient> chunks_;
  std::unique_ptr<FileOps> ops_;
};

}  // namespace sheaf::client
