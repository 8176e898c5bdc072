// The small text files that say what a directory is: the marker SHEAF, a node's NODE and CLUSTER, a
// local cluster's cluster.toml and meta.toml. The first byte chooses one, the rest is its content.
// A file that is refused is left as it was: it may be all that is left of somebody's data.

#include <fstream>
#include <sstream>

#include "client/cli/local_cluster.h"
#include "common/state_dir.h"
#include "common/uuid.h"
#include "storage/service/node_identity.h"
#include "tests/fuzz/input.h"
#include "tests/support/temp_dir.h"

namespace sheaf {
namespace {

constexpr uint32_t kFormat = 3;
constexpr char kMarker[] =
    "sheaf state directory\nkind=local-cluster\nformat=1\n"
    "uuid=1b4e28ba-2fa1-41d2-883f-0016d3cca427\n";

// One directory for all runs: making one costs more than the decoders.
const std::string& Directory() {
  static testing::TempDir directory;
  return directory.path();
}

void Put(const std::string& name, std::string_view text) {
  std::ofstream(Directory() + "/" + name, std::ios::binary | std::ios::trunc) << text;
}

std::string Get(const std::string& name) {
  std::ostringstream text;
  std::ifstream file(Directory() + "/" + name, std::ios::binary);
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  return text.str();
}

void FuzzMarker(std::string_view text, bool create) {
  Put("SHEAF", text);
  {
    const auto opened = StateDir::Open(Directory(), "storage-target", kFormat, create);
    if (opened.ok()) {
      CHECK(IsUuid(opened->uuid()) && opened->format_version() >= 1 &&
                opened->format_version() <= kFormat,
            "a marker that no writer made");
    }
  }
  CHECK(Get("SHEAF") == text, "reading a marker changed it");
}

void FuzzIdentity(std::string_view text, const char* name) {
  Put("NODE", "1b4e28ba-2fa1-41d2-883f-0016d3cca427\n");
  Put("CLUSTER", "1b4e28ba-2fa1-41d2-883f-0016d3cca428\n");
  Put(name, text);
  const auto identity = storage::LoadNodeIdentity({Directory()});
  if (identity.ok()) CHECK(IsUuid(identity->node_uuid) && IsUuid(identity->cluster_uuid));
  CHECK(Get(name) == text, "reading an identity changed it");
}

void FuzzLocalCluster(std::string_view settings, std::string_view meta) {
  Put("SHEAF", kMarker);
  Put("cluster.toml", settings);
  auto cluster = cli::LocalCluster::Open(Directory(), false);
  if (!cluster.ok()) {
    CHECK(cluster.status().code() == Code::kUsage, cluster.status().ToString());
    return;
  }
  CHECK(cluster->settings().storage >= 1 && cluster->settings().storage <= cli::kMaxLocalStorage);
  Put("config/meta.toml", meta);
  const std::string address = cluster->MetaAddress();
  CHECK(address.size() <= meta.size());
  CHECK(cli::ReplaceAddress(std::string(meta), "listen", address) == meta,
        "an address is put where it was found");
}

}  // namespace
}  // namespace sheaf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  switch (input.TakeByte() % 5) {
    case 0:
      sheaf::FuzzMarker(input.TakeRest(), false);
      break;
    case 1:
      sheaf::FuzzMarker(input.TakeRest(), true);
      break;
    case 2:
      sheaf::FuzzIdentity(input.TakeRest(), "NODE");
      break;
    case 3:
      sheaf::FuzzIdentity(input.TakeRest(), "CLUSTER");
      break;
    default: {
      const std::string_view settings = input.TakePiece();
      sheaf::FuzzLocalCluster(settings, input.TakeRest());
    }
  }
  return 0;
}
