// The cluster map as the manager sends it, taken in by all who get one: storage servers, clients,
// and `sheaf status`. Each must hold to what it says of its own view, whatever the map says.

#include "client/cli/status_table.h"
#include "client/routing/cluster_view.h"
#include "client/status_json.h"
#include "common/clock.h"
#include "proto/cluster.pb.h"
#include "storage/replica/replica_set.h"
#include "tests/fuzz/input.h"
#include "tests/support/fake_engine.h"

namespace sheaf {
namespace {

const std::vector<std::string> kUuids = {"a", "b"};

void FuzzStorage(const proto::ClusterMap& map) {
  const storage::ChainMap view = storage::BuildChainMap(map, kUuids);
  CHECK(view.local_targets.size() == kUuids.size());
  for (const auto& [id, chain] : view.chains) {
    CHECK(id == chain.id && chain.local_member < chain.members.size() &&
              chain.local_target < kUuids.size(),
          "a chain without a member of ours");
  }
  testing::FakeEngine engines[2];
  storage::ReplicaSet replicas({{"a", &engines[0]}, {"b", &engines[1]}}, Clock::System());
  replicas.ExtendLease(Clock::System().Now() + std::chrono::hours(1));
  replicas.ApplyMap(map);
  for (const proto::Chain& chain : map.chains()) {
    storage::AdmissionRequest request;
    request.chain = ChainId(chain.id());
    request.chain_version = ChainVersion(chain.version());
    const auto found = replicas.Find(request);
    if (!found.ok()) continue;
    const auto known = view.chains.find(ChainId(chain.id()));
    CHECK(known != view.chains.end() && known->second.version == request.chain_version,
          "admitted to a chain that the map does not have here");
    CHECK(&(*found)->engine() == &engines[known->second.local_target],
          "a chain on another target's engine");
  }
}

void FuzzClient(const proto::ClusterMap& map) {
  const auto view = client::ClusterView::FromProto(map, "boot");
  if (!view.ok()) return;
  CHECK((*view)->servers().size() == static_cast<size_t>(map.nodes_size()));
  for (const proto::ChainTable& table : map.tables()) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Layout layout{.stripe_width = static_cast<uint32_t>(seed),
                          .table_version = table.version(),
                          .seed = seed * 0x9e3779b97f4a7c15};
      const auto route = (*view)->ChainOf(layout, static_cast<uint32_t>(seed * 77));
      if (!route.ok()) continue;
      CHECK(!(*route)->replicas.empty(), "a chain without replicas");
      for (const client::ChainReplica& replica : (*route)->replicas) {
        CHECK(replica.server < (*view)->servers().size(), "a replica on no server");
      }
    }
  }
}

void FuzzStatus(const proto::ClusterMap& map) {
  proto::ClusterStatus status;
  *status.mutable_map() = map;
  const auto table = cli::StatusTable(client::FormatStatus(status, "boot"));
  CHECK(table.ok(), table.status().ToString());
}

}  // namespace
}  // namespace sheaf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = sheaf::fuzz::Input(data, size).TakeRest();
  sheaf::proto::ClusterMap map;
  if (!map.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return 0;
  sheaf::FuzzStorage(map);
  sheaf::FuzzClient(map);
  sheaf::FuzzStatus(map);
  return 0;
}
