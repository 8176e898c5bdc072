#include "storage/service/node_identity.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <string_view>

#include "common/fd.h"
#include "common/state_dir.h"
#include "common/uuid.h"

namespace sheaf::storage {
namespace {

constexpr const char* kNodeFile = "NODE";
constexpr const char* kClusterFile = "CLUSTER";

// Empty when the file is missing.
Result<std::string> ReadUuid(const std::string& directory, const char* name) {
  const std::string path = directory + "/" + name;
  std::ifstream file(path);
  if (!file) {
    if (errno == ENOENT) return std::string();
    return Status::FromErrno(errno, "open " + path);
  }
  // A uuid and its end of line, and enough more to show what else is there.
  std::array<char, 64> text{};
  file.read(text.data(), text.size());
  const std::string_view found(text.data(), static_cast<size_t>(file.gcount()));
  std::string line(found.substr(0, found.find('\n')));
  if (!IsUuid(line))
    return Status{Code::kCorrupt, path + ": does not hold a uuid (\"" + line +
                                      "\"); restore it from a backup or remove it if this target "
                                      "is to be used afresh"};
  return line;
}

Status WriteUuid(const std::string& directory, const char* name, const std::string& uuid) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "open " + directory);
  return WriteFileDurably(fd.get(), name, uuid + "\n", directory);
}

// The one value among the directories; kInvalid when two differ.
Result<std::string> ReadCommon(const std::vector<std::string>& directories, const char* name) {
  std::string common;
  std::string where;
  for (const std::string& directory : directories) {
    ASSIGN_OR_RETURN(const std::string uuid, ReadUuid(directory, name));
    if (uuid.empty()) continue;
    if (!common.empty() && uuid != common)
      return Status{Code::kInvalid, "targets " + where + " and " + directory +
                                        " do not belong together: their " + name +
                                        " files differ (" + common + ", " + uuid +
                                        "); list only targets of one server, or remove NODE from "
                                        "one that is to move here for good"};
    common = uuid;
    where = directory;
  }
  return common;
}

}  // namespace

Result<NodeIdentity> LoadNodeIdentity(const std::vector<std::string>& target_directories) {
  CHECK(!target_directories.empty());
  NodeIdentity identity;
  ASSIGN_OR_RETURN(identity.node_uuid, ReadCommon(target_directories, kNodeFile));
  ASSIGN_OR_RETURN(identity.cluster_uuid, ReadCommon(target_directories, kClusterFile));
  if (identity.node_uuid.empty()) identity.node_uuid = NewUuid();
  for (const std::string& directory : target_directories) {
    ASSIGN_OR_RETURN(const std::string known, ReadUuid(directory, kNodeFile));
    if (known.empty()) RETURN_IF_ERROR(WriteUuid(directory, kNodeFile, identity.node_uuid));
  }
  return identity;
}

Status RememberCluster(const std::vector<std::string>& target_directories,
                       const std::string& cluster_uuid) {
  for (const std::string& directory : target_directories) {
    ASSIGN_OR_RETURN(const std::string known, ReadUuid(directory, kClusterFile));
    if (known == cluster_uuid) continue;
    if (!known.empty())
      return {Code::kInvalid,
              "target " + directory + " belongs to cluster " + known + ", not to " + cluster_uuid};
    RETURN_IF_ERROR(WriteUuid(directory, kClusterFile, cluster_uuid));
  }
  return Status::Ok();
}

}  // namespace sheaf::storage
