#include "storage/service/storage_config.h"

#include <set>

#include "common/address.h"
#include "common/log_config.h"

namespace sheaf::storage {
namespace {

constexpr uint64_t kMaxCapacityMib = uint64_t{1} << 30;  // 1 PiB

Status CheckAddress(const std::string& name, const char* key, const std::string& value) {
  auto address = Address::Parse(value);
  if (address.ok() && !address->IsUnix()) return Status::Ok();
  return {Code::kUsage, name + ": " + key + " = \"" + value + "\" is not a host:port"};
}

bool IsWildcard(const std::string& host) {
  return host == "0.0.0.0" || host == "::" || host == "*";
}

}  // namespace

Result<StorageConfig> StorageConfig::Load(const std::string& path) {
  ASSIGN_OR_RETURN(ConfigFile file, ConfigFile::Load(path));
  return Read(std::move(file), path);
}

Result<StorageConfig> StorageConfig::Read(ConfigFile file, const std::string& name) {
  StorageConfig config;
  file.Read("meta", &config.meta);
  file.Read("targets", &config.targets);
  file.Read("listen", &config.listen);
  file.Read("grpc", &config.grpc);
  file.Read("metrics", &config.metrics);
  file.Read("unix_path", &config.unix_path);
  file.Read("advertise", &config.advertise);
  file.Read("failure_domain", &config.failure_domain);
  file.Read("reactors", &config.reactors, 1, 64);
  file.Read("buffer_mib", &config.buffer_mib, 16, 65536);
  file.Read("slab_mib", &config.slab_mib, 64, 65536);
  file.Read("capacity_mib", &config.capacity_mib, 0, kMaxCapacityMib);
  file.Read("scrub_mib_per_s", &config.scrub_mib_per_s, 0, 100'000);
  file.Read("resync_mib_per_s", &config.resync_mib_per_s, 0, 100'000);
  file.Read("stage_from_kib", &config.stage_from_kib, 0, 65536);
  file.Read("near_stages", &config.near_stages);
  ReadLogOptions(file, &config.log);
  RETURN_IF_ERROR(file.Finish());
  RETURN_IF_ERROR(config.Validate(name));
  return config;
}

Status StorageConfig::Validate(const std::string& name) const {
  if (meta.empty())
    return {Code::kUsage, name + ": meta is missing; name the manager, as in meta = \"host:7700\""};
  RETURN_IF_ERROR(CheckAddress(name, "meta", meta));
  RETURN_IF_ERROR(CheckAddress(name, "listen", listen));
  RETURN_IF_ERROR(CheckAddress(name, "grpc", grpc));
  if (!metrics.empty()) RETURN_IF_ERROR(CheckAddress(name, "metrics", metrics));
  if (!unix_path.empty()) RETURN_IF_ERROR(Address::Parse("unix:" + unix_path).status());
  if (targets.empty())
    return {Code::kUsage,
            name + ": targets is missing; list a directory a disk, as in targets = [\"/data/0\"]"};
  if (std::set<std::string>(targets.begin(), targets.end()).size() != targets.size())
    return {Code::kUsage, name + ": targets lists a directory twice"};
  if (buffer_mib / reactors < 16)
    return {Code::kUsage, name + ": buffer_mib = " + std::to_string(buffer_mib) +
                              " leaves less than 16 MiB for each of " + std::to_string(reactors) +
                              " reactors; raise it"};
  if (advertise.empty() && IsWildcard(Address::Parse(listen)->host))
    return {Code::kUsage, name + ": listen = \"" + listen +
                              "\" is every address; set advertise to the host that clients use"};
  return Status::Ok();
}

}  // namespace sheaf::storage
