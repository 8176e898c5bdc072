#include "tests/cluster/raw_session.h"

#include <fcntl.h>

#include <chrono>

#include "common/address.h"
#include "common/crc32c.h"
#include "common/layout.h"
#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/data.pb.h"
#include "proto/meta.grpc.pb.h"
#include "tests/support/eventually.h"

namespace sheaf::testing {
namespace {

constexpr std::chrono::seconds kWait{30};

// Where the first chunk of a file is, by one map.
struct Place {
  proto::Chain chain;
  std::string address;
};

Result<Place> FirstChunk(const proto::ClusterMap& map, const proto::Layout& layout) {
  const Layout arithmetic{.chunk_size_log2 = layout.chunk_size_log2(),
                          .stripe_width = layout.stripe_width(),
                          .table_version = layout.table_version(),
                          .seed = layout.seed()};
  Place place;
  for (const proto::ChainTable& table : map.tables()) {
    if (table.version() != layout.table_version()) continue;
    const uint32_t id = table.chain_ids(static_cast<int>(
        ChainPosition(arithmetic, static_cast<uint32_t>(table.chain_ids_size()), 0)));
    for (const proto::Chain& chain : map.chains()) {
      if (chain.id() == id) place.chain = chain;
    }
  }
  if (place.chain.members().empty()) return Status(Code::kUnavailable, "no such chain in the map");
  for (const proto::Target& target : map.targets()) {
    if (target.id() != place.chain.members(0).target_id()) continue;
    for (const proto::Node& node : map.nodes()) {
      if (node.id() == target.node_id()) place.address = node.addresses().framed();
    }
  }
  return place;
}

}  // namespace

struct RawSession::Stubs {
  explicit Stubs(const std::string& address)
      : meta(proto::Meta::NewStub(MakeChannel(address))),
        cluster(proto::Cluster::NewStub(MakeChannel(address))) {}

  template <typename Stub, typename Request, typename Response>
  static Status Call(Stub& stub,
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + kWait);
    return FromGrpc((stub.*method)(&context, request, response));
  }

  std::unique_ptr<proto::Meta::Stub> meta;
  std::unique_ptr<proto::Cluster::Stub> cluster;
};

RawSession::RawSession(const std::string& meta_address)
    : stubs_(std::make_unique<Stubs>(meta_address)), pool_(transport::ConnectionPool::Options()) {
  proto::OpenSessionResponse response;
  const Status opened = Stubs::Call(*stubs_->cluster, &proto::Cluster::Stub::OpenSession,
                                    proto::OpenSessionRequest(), &response);
  CHECK(opened.ok(), opened.ToString());
  incarnation_ = response.incarnation();
}

RawSession::~RawSession() = default;

proto::Context RawSession::NextContext() {
  proto::Context context;
  context.mutable_request()->set_incarnation(incarnation_);
  context.mutable_request()->set_sequence(++request_);
  context.mutable_request()->set_lowest_outstanding(request_);
  return context;
}

Result<proto::Attr> RawSession::Create(const std::string& name) {
  proto::CreateRequest request;
  *request.mutable_ctx() = NextContext();
  request.set_parent(kRootInode.value());
  request.set_name(name);
  request.set_mode(0666);
  request.set_open_flags(O_RDWR);
  proto::CreateResponse response;
  RETURN_IF_ERROR(Stubs::Call(*stubs_->meta, &proto::Meta::Stub::Create, request, &response));
  return response.attr();
}

Result<uint64_t> RawSession::ReserveAppend(const proto::Attr& file, uint64_t bytes) {
  proto::ReserveAppendRequest request;
  *request.mutable_ctx() = NextContext();
  request.set_inode(file.inode());
  request.set_size_epoch(file.size_epoch());
  request.set_bytes(bytes);
  proto::ReserveAppendResponse response;
  RETURN_IF_ERROR(
      Stubs::Call(*stubs_->meta, &proto::Meta::Stub::ReserveAppend, request, &response));
  return response.offset();
}

Status RawSession::Write(const proto::Attr& file, uint32_t offset, const std::string& bytes,
                         uint32_t stream, uint64_t sequence) {
  Status status;
  (void)Eventually(
      [&] {
        status = WriteOnce(file, offset, bytes, stream, sequence);
        return status.retry() == Retry::kNever;
      },
      kWait);
  return status;
}

Status RawSession::WriteOnce(const proto::Attr& file, uint32_t offset, const std::string& bytes,
                             uint32_t stream, uint64_t sequence) {
  proto::GetClusterMapResponse map;
  RETURN_IF_ERROR(Stubs::Call(*stubs_->cluster, &proto::Cluster::Stub::GetClusterMap,
                              proto::GetClusterMapRequest(), &map));
  ASSIGN_OR_RETURN(const Place place, FirstChunk(map.map(), file.layout()));
  ASSIGN_OR_RETURN(const Address address, Address::Parse(place.address));
  ASSIGN_OR_RETURN(const auto connection, pool_.Get(address));
  const std::span payload(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  proto::WriteChunkRequest request;
  request.mutable_ctx()->set_chain_id(place.chain.id());
  request.mutable_ctx()->set_chain_version(place.chain.version());
  request.mutable_ctx()->set_incarnation(incarnation_);
  request.mutable_ctx()->set_stream(stream);
  request.mutable_ctx()->set_sequence(sequence);
  request.mutable_chunk()->set_data_id(file.data_id());
  request.set_offset(offset);
  request.set_chunk_size(1u << file.layout().chunk_size_log2());
  request.set_crc32c(Crc32c(payload));
  return connection
      ->Run({.method = transport::Method::kWrite,
             .message = request.SerializeAsString(),
             .payload = payload,
             .deadline = Clock::System().Now() + kWait})
      .status();
}

}  // namespace sheaf::testing
