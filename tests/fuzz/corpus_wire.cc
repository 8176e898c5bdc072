// What travels: frames, hellos, requests, answers, the cluster map.

#include "common/rpc.h"
#include "common/transport/frame.h"
#include "common/transport/hello.h"
#include "proto/cluster.pb.h"
#include "proto/data.pb.h"
#include "proto/meta.pb.h"
#include "proto/replica.pb.h"
#include "tests/fuzz/corpus.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/watched_engine.h"

namespace sheaf::fuzz {
namespace {

using transport::FrameHeader;
using transport::FrameType;
using transport::kHeaderSize;
using transport::Method;

std::string Frame(FrameHeader header, const std::string& message, size_t payload) {
  header.message_length = static_cast<uint32_t>(message.size());
  header.payload_length = static_cast<uint32_t>(payload);
  const auto bytes = EncodeHeader(header);
  return std::string(bytes.begin(), bytes.end()) + message + std::string(payload, 'p');
}

template <typename Request>
Request WithContext() {
  Request request;
  request.mutable_ctx()->set_chain_id(kChain);
  request.mutable_ctx()->set_chain_version(kChainVersion);
  request.mutable_ctx()->set_incarnation(5);
  return request;
}

proto::ReadChunkRequest ReadRequest() {
  auto request = WithContext<proto::ReadChunkRequest>();
  request.mutable_chunk()->set_data_id(42);
  request.set_offset(4096);
  request.set_length(65536);
  return request;
}

proto::WriteChunkRequest WriteRequest() {
  auto request = WithContext<proto::WriteChunkRequest>();
  request.mutable_chunk()->set_data_id(42);
  request.mutable_chunk()->set_index(3);
  request.set_chunk_size(4 << 20);
  return request;
}

std::string ReadFrames() {
  proto::ReadChunkResponse response;
  response.set_crc32c(0x12345678);
  response.set_chunk_length(4096);
  return Frame({.type = FrameType::kRequest, .method = Method::kRead, .request_id = 1},
               ReadRequest().SerializeAsString(), 0) +
         Frame({.type = FrameType::kResponse, .request_id = 1}, response.SerializeAsString(), 4096);
}

std::string WriteFrames() {
  return Frame({.type = FrameType::kRequest, .method = Method::kWrite, .deadline_ms = 30000},
               WriteRequest().SerializeAsString(), 9000) +
         Frame({.type = FrameType::kCancel, .request_id = 2}, {}, 0);
}

// What a client sends the metadata service: one call after another, of the fuzzer's session.
class MetaFrames {
 public:
  template <typename Request>
  void Add(Method method, Request request) {
    proto::RequestId* id = request.mutable_ctx()->mutable_request();
    id->set_incarnation(1);
    id->set_sequence(++sequence_);
    id->set_lowest_outstanding(sequence_);
    frames_ += Frame({.type = FrameType::kRequest, .method = method, .request_id = sequence_},
                     request.SerializeAsString(), 0);
  }
  const std::string& frames() const { return frames_; }

 private:
  uint64_t sequence_ = 0;
  std::string frames_;
};

template <typename Request>
Request Named(const std::string& name) {
  Request request;
  request.set_parent(1);
  request.set_name(name);
  return request;
}

std::string MetaCalls() {
  MetaFrames calls;
  auto create = Named<proto::CreateRequest>("file");
  create.set_mode(0644);
  create.set_open_flags(2);
  calls.Add(Method::kMetaCreate, create);
  auto mkdir = Named<proto::MkdirRequest>("directory");
  mkdir.set_mode(0755);
  calls.Add(Method::kMetaMkdir, mkdir);
  calls.Add(Method::kMetaLookup, Named<proto::LookupRequest>("file"));
  proto::LookupPathRequest path;
  path.set_start(1);
  path.add_names("directory");
  calls.Add(Method::kMetaLookupPath, path);
  proto::TruncateRequest truncate;
  truncate.set_inode(2);
  truncate.set_size(70'000);
  calls.Add(Method::kMetaTruncate, truncate);
  proto::ReadDirRequest list;
  list.set_inode(1);
  calls.Add(Method::kMetaReadDir, list);
  proto::BatchRequest batch;
  *batch.add_operations()->mutable_lookup() = Named<proto::LookupRequest>("file");
  *batch.add_operations()->mutable_unlink() = Named<proto::UnlinkRequest>("file");
  calls.Add(Method::kMetaBatch, batch);
  calls.Add(Method::kMetaStatFs, proto::StatFsRequest());
  return calls.frames();
}

void WriteFrameInputs(const std::filesystem::path& root) {
  const std::string client = transport::EncodeHello(transport::MakeClientHello("token"));
  const std::string server = transport::EncodeHello(transport::MakeServerHello({}));
  const std::string error =
      transport::EncodeError(3, Status(Code::kBusy, "read chunk 1.2: queue full"));
  for (const char choice : {'\0', '\1', '\3', '\x45'}) {
    const std::string suffix = std::to_string(choice);
    WriteInput(root, "frame", "client-" + suffix, choice + client + ReadFrames() + WriteFrames());
    WriteInput(root, "frame", "server-" + suffix, choice + server + error + ReadFrames());
    WriteInput(
        root, "frame", "large-" + suffix,
        choice + Frame({.type = FrameType::kResponse}, std::string(4096, 'm'), 16384) + error);
  }
  WriteInput(root, "server_stream", "read-write", '\0' + client + WriteFrames() + ReadFrames());
  WriteInput(root, "server_stream", "sealed", '\3' + WriteFrames() + ReadFrames());
  WriteInput(root, "meta_stream", "calls", '\0' + client + MetaCalls());
  WriteInput(root, "meta_stream", "sealed", '\3' + MetaCalls());
  WriteInput(root, "client_stream", "answer", '\0' + server + ReadFrames() + error);
  WriteInput(root, "client_stream", "sealed", '\3' + error + ReadFrames());
  const auto hello = static_cast<char>(FrameType::kHello);
  WriteInput(root, "hello", "client", hello + client.substr(kHeaderSize));
  WriteInput(root, "hello", "server", hello + server.substr(kHeaderSize));
  WriteInput(root, "hello", "error",
             static_cast<char>(FrameType::kError) + error.substr(kHeaderSize));
}

// One request of data_request_fuzzer's input; the top bit of a write puts its checksum right.
std::string Request(Method method, const google::protobuf::MessageLite& message,
                    uint16_t payload = 0) {
  std::string out(1, static_cast<char>(static_cast<uint8_t>(method) | 0x80));
  out += Piece(message.SerializeAsString());
  out.push_back(static_cast<char>(payload));
  out.push_back(static_cast<char>(payload >> 8));
  return out;
}

void WriteRequestInputs(const std::filesystem::path& root) {
  auto truncate = WithContext<proto::TruncateChunkRequest>();
  truncate.mutable_chunk()->set_data_id(42);
  truncate.set_length(100);
  truncate.set_chunk_size(4 << 20);
  auto remove = WithContext<proto::RemoveChunksRequest>();
  remove.set_data_id(42);
  auto list = WithContext<proto::ListChunksRequest>();
  list.mutable_after()->set_data_id(41);
  list.set_limit(10);
  auto read = ReadRequest();
  read.mutable_chunk()->set_index(3);
  read.set_offset(0);
  const std::string write = Request(Method::kWrite, WriteRequest(), 5000);
  WriteInput(root, "data_request", "write-read", write + Request(Method::kRead, read));
  WriteInput(root, "data_request", "cut",
             write + Request(Method::kTruncate, truncate) + Request(Method::kRead, read));
  WriteInput(root, "data_request", "remove",
             write + Request(Method::kList, list) + Request(Method::kRemove, remove) +
                 Request(Method::kRead, read));
  WriteInput(root, "data_request", "others",
             Request(Method::kSpace, proto::SpaceRequest()) +
                 Request(Method::kHealth, proto::HealthRequest()) +
                 Request(Method::kEcho, ReadRequest(), 100));
}

// From the head of a chain to this server: its tail (`chain` is kChain + 1), or syncing.
template <typename Message>
Message FromHead(uint32_t chain) {
  Message message;
  message.mutable_peer()->set_chain_id(chain);
  message.mutable_peer()->set_chain_version(kChainVersion);
  message.mutable_peer()->set_from_target(2);
  return message;
}

proto::ReplicateRequest Replicated(uint32_t chain, uint64_t sequence, proto::ChangeKind kind) {
  auto change = FromHead<proto::ReplicateRequest>(chain);
  change.set_sequence(sequence);
  change.set_kind(kind);
  change.mutable_chunk()->set_data_id(42);
  change.set_proposed_version(kChainVersion);
  change.set_chunk_size(4 << 20);
  change.set_incarnation(7);
  change.set_stream(1);
  change.set_stream_sequence(sequence);
  return change;
}

void WriteNeighbourInputs(const std::filesystem::path& root) {
  auto durable = FromHead<proto::DurableRequest>(kChain + 1);
  durable.set_durable(2);
  auto cut = Replicated(kChain + 1, 2, proto::CHANGE_TRUNCATE);
  cut.set_length(100);
  auto abort = Replicated(kChain + 1, 3, proto::CHANGE_ABORT);
  abort.set_abort_from(2);
  const std::string changes =
      Request(Method::kReplicate, Replicated(kChain + 1, 1, proto::CHANGE_WRITE), 5000) +
      Request(Method::kReplicate, cut);
  WriteInput(root, "data_request", "committed",
             changes + Request(Method::kDurable, durable) +
                 Request(Method::kCommitted, FromHead<proto::CommittedRequest>(kChain + 1)));
  WriteInput(root, "data_request", "aborted", changes + Request(Method::kReplicate, abort));

  auto part = FromHead<proto::StageRequest>(kChain + 1);
  part.set_stage(1);
  part.set_total(5000);
  auto last_part = part;
  last_part.set_offset(4096);
  auto other_part = part;
  other_part.set_stage(2);
  auto drop = other_part;
  drop.set_drop(true);
  auto ahead = Replicated(kChain + 1, 1, proto::CHANGE_WRITE);
  ahead.set_stage(1);
  ahead.set_length(5000);
  WriteInput(root, "data_request", "staged",
             Request(Method::kStage, part, 4096) + Request(Method::kStage, other_part, 4096) +
                 Request(Method::kStage, last_part, 904) + Request(Method::kReplicate, ahead) +
                 Request(Method::kStage, drop));
  const auto stage_frame = [](const auto& message, Method method, size_t payload) {
    return Frame({.type = FrameType::kRequest, .method = method, .request_id = 1, .flags = 1},
                 message.SerializeAsString(), payload);
  };
  WriteInput(root, "server_stream", "staged",
             '\3' + stage_frame(part, Method::kStage, 4096) +
                 stage_frame(other_part, Method::kStage, 4096) +
                 stage_frame(last_part, Method::kStage, 904) +
                 stage_frame(ahead, Method::kReplicate, 0) + stage_frame(drop, Method::kStage, 0));

  auto piece = FromHead<proto::SyncWriteRequest>(kChain + 2);
  piece.mutable_peer()->set_number(1);
  piece.mutable_chunk()->set_data_id(42);
  piece.set_chunk_size(4 << 20);
  piece.set_first(true);
  auto seal = FromHead<proto::SyncSealRequest>(kChain + 2);
  seal.mutable_peer()->set_number(2);
  seal.mutable_chunk()->mutable_chunk()->set_data_id(42);
  seal.mutable_chunk()->set_length(6000);
  seal.mutable_chunk()->set_version(9);
  seal.mutable_chunk()->set_chunk_size(4 << 20);
  auto list = FromHead<proto::SyncListRequest>(kChain + 2);
  list.mutable_peer()->set_number(3);
  auto remove = FromHead<proto::SyncRemoveRequest>(kChain + 2);
  remove.mutable_peer()->set_number(4);
  remove.add_chunks()->set_data_id(42);
  auto results = FromHead<proto::SyncResultsRequest>(kChain + 2);
  results.mutable_peer()->set_number(5);
  results.add_results()->set_incarnation(7);
  results.set_complete(true);
  auto units = FromHead<proto::SyncUnitsRequest>(kChain + 2);
  units.mutable_chunk()->set_data_id(42);
  WriteInput(root, "data_request", "resync",
             Request(Method::kSyncWrite, piece, 5000) + Request(Method::kSyncUnits, units) +
                 Request(Method::kSyncSeal, seal) + Request(Method::kSyncList, list) +
                 Request(Method::kSyncRemove, remove) + Request(Method::kSyncResults, results));
}

proto::ClusterMap Map() {
  proto::ClusterMap map;
  map.set_version(9);
  map.set_cluster_uuid("1b4e28ba-2fa1-41d2-883f-0016d3cca427");
  for (uint32_t i = 1; i <= 2; ++i) {
    proto::Node* node = map.add_nodes();
    node->set_id(i);
    node->set_uuid("node-" + std::to_string(i));
    node->mutable_addresses()->set_framed("127.0.0.1:77" + std::to_string(i) + "0");
    node->mutable_addresses()->set_unix_path("/run/sheaf.sock");
    node->mutable_addresses()->set_boot_id("boot");
    node->set_state(i == 1 ? proto::NODE_UP : proto::NODE_DOWN);
    proto::Target* target = map.add_targets();
    target->set_id(i);
    target->set_node_id(i);
    target->set_uuid(i == 1 ? "a" : "b");
    target->set_state(proto::SERVING);
    target->set_total_bytes(1 << 30);
  }
  proto::ChainTable* table = map.add_tables();
  table->set_version(1);
  for (uint32_t i = 1; i <= 3; ++i) {
    proto::Chain* chain = map.add_chains();
    chain->set_id(i);
    chain->set_version(i);
    for (uint32_t target = 1; target <= 2; ++target) {
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(i == 2 ? 3 - target : target);
      member->set_state(target == 1 ? proto::SERVING : proto::SYNCING);
    }
    table->add_chain_ids(i);
  }
  proto::IncarnationRange* fenced = map.add_fenced();
  fenced->set_first(60);
  fenced->set_last(66);
  return map;
}

proto::Attr FileAnswer(uint64_t version, uint64_t size, uint64_t epoch) {
  proto::Attr attr;
  attr.set_inode(5);
  attr.set_mode(0100644);
  attr.set_nlink(1);
  attr.set_size(size);
  attr.set_version(version);
  attr.set_data_id(42);
  attr.set_size_epoch(epoch);
  attr.mutable_layout()->set_chunk_size_log2(22);
  attr.mutable_layout()->set_table_version(1);
  attr.mutable_layout()->set_seed(0x123456789);
  return attr;
}

void WriteAnswerInputs(const std::filesystem::path& root) {
  const std::string first = Piece(FileAnswer(1, 100, 1).SerializeAsString());
  const std::string grown = Piece(FileAnswer(2, uint64_t{1} << 40, 1).SerializeAsString());
  const std::string cut = Piece(FileAnswer(3, 5, 2).SerializeAsString());
  WriteInput(root, "meta_answer", "one", first);
  WriteInput(root, "meta_answer", "three", first + grown + cut);
  WriteInput(root, "meta_answer", "out-of-order", cut + first + grown);
  for (const Code code : {Code::kNotFound, Code::kStale, Code::kFenced}) {
    const grpc::Status status = ToGrpc(Status(code, "lookup 1/x: it is so"));
    WriteInput(root, "status", std::to_string(static_cast<int>(code)),
               static_cast<char>(status.error_code()) + Piece(status.error_details()) +
                   status.error_message());
  }
}

// Steps of manager_fuzzer: two servers come, chains are made, one falls silent and comes back.
void WriteManagerInputs(const std::filesystem::path& root) {
  using namespace std::string_literals;
  std::string arrive;
  std::string beats;
  for (uint32_t i = 1; i <= 2; ++i) {
    proto::RegisterNodeRequest request;
    request.set_uuid("node-" + std::to_string(i));
    request.mutable_addresses()->set_framed("127.0.0.1:77" + std::to_string(i) + "0");
    proto::TargetReport* report = request.add_targets();
    report->set_uuid("target-" + std::to_string(i));
    report->set_state(proto::UP_TO_DATE);
    arrive += "\0"s + Piece(request.SerializeAsString());
    proto::HeartbeatRequest beat;
    beat.set_node_id(2 * i);  // targets are numbered first
    beat.set_uuid(request.uuid());
    beat.set_map_version(4);
    *beat.add_targets() = *report;
    beat.mutable_targets(0)->set_id(2 * i - 1);
    beats += "\1"s + Piece(beat.SerializeAsString());
  }
  for (uint32_t replicas = 1; replicas <= 2; ++replicas) {
    proto::CreateChainsRequest create;
    create.set_replicas(replicas);
    create.set_chains_per_target(4);
    const std::string made = arrive + "\2"s + Piece(create.SerializeAsString()) + beats;
    const std::string suffix = std::to_string(replicas);
    WriteInput(root, "manager", "silence-" + suffix, made + "\3\xff"s + beats + "\3\x20"s);
    WriteInput(root, "manager", "restart-" + suffix, made + "\4"s + beats + "\3\xff\3\x10"s);
  }
}

}  // namespace

void WriteWireInputs(const std::filesystem::path& root) {
  WriteFrameInputs(root);
  WriteRequestInputs(root);
  WriteNeighbourInputs(root);
  WriteAnswerInputs(root);
  WriteManagerInputs(root);
  WriteInput(root, "cluster_map", "two-nodes", Map().SerializeAsString());
  WriteInput(root, "cluster_map", "empty", proto::ClusterMap().SerializeAsString());
}

}  // namespace sheaf::fuzz
