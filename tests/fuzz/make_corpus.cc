// Writes the fuzzers' first inputs, made by the real encoders: make_corpus DIRECTORY, which gets
// one folder a fuzzer.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/transport/frame.h"
#include "common/transport/hello.h"
#include "proto/data.pb.h"

namespace sheaf::transport {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& file, char choice, const std::string& bytes) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << choice << bytes;
}

std::string Frame(FrameHeader header, const std::string& message, size_t payload) {
  header.message_length = static_cast<uint32_t>(message.size());
  header.payload_length = static_cast<uint32_t>(payload);
  const auto bytes = EncodeHeader(header);
  return std::string(bytes.begin(), bytes.end()) + message + std::string(payload, 'p');
}

std::string ReadFrames() {
  proto::ReadChunkRequest request;
  request.mutable_chunk()->set_data_id(42);
  request.set_offset(4096);
  request.set_length(65536);
  proto::ReadChunkResponse response;
  response.set_crc32c(0x12345678);
  response.set_chunk_length(4096);
  return Frame({.type = FrameType::kRequest, .method = Method::kRead, .request_id = 1},
               request.SerializeAsString(), 0) +
         Frame({.type = FrameType::kResponse, .request_id = 1}, response.SerializeAsString(), 4096);
}

std::string WriteFrames() {
  proto::WriteChunkRequest request;
  request.mutable_ctx()->set_chain_id(7);
  request.mutable_chunk()->set_index(3);
  request.set_chunk_size(4 << 20);
  return Frame({.type = FrameType::kRequest, .method = Method::kWrite, .deadline_ms = 30000},
               request.SerializeAsString(), 9000) +
         Frame({.type = FrameType::kCancel, .request_id = 2}, {}, 0);
}

void WriteAll(const fs::path& root) {
  const std::string client = EncodeHello(MakeClientHello("token"));
  const std::string server = EncodeHello(MakeServerHello({}));
  const std::string error = EncodeError(3, Status(Code::kBusy, "read chunk 1.2: queue full"));
  for (const char choice : {'\0', '\1', '\3', '\x45'}) {
    const std::string suffix = std::to_string(choice);
    Write(root / "frame" / ("client-" + suffix), choice, client + ReadFrames() + WriteFrames());
    Write(root / "frame" / ("server-" + suffix), choice, server + error + ReadFrames());
    Write(root / "frame" / ("large-" + suffix), choice,
          Frame({.type = FrameType::kResponse}, std::string(4096, 'm'), 16384) + error);
  }
  const auto hello = static_cast<char>(FrameType::kHello);
  Write(root / "hello" / "client", hello, client.substr(kHeaderSize));
  Write(root / "hello" / "server", hello, server.substr(kHeaderSize));
  Write(root / "hello" / "error", static_cast<char>(FrameType::kError), error.substr(kHeaderSize));
}

}  // namespace
}  // namespace sheaf::transport

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_corpus DIRECTORY\n");
    return 2;
  }
  sheaf::transport::WriteAll(argv[1]);
  return 0;
}
