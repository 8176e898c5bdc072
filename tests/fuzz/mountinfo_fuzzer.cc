// /proc/self/mountinfo, whose mount points and sources are whatever any user mounted: the command's
// reader and the mount daemon's must see the same mounts. And sizes as a person types them.

#include "client/cli/mounts.h"
#include "client/cli/sizes.h"
#include "fuse/mountinfo.h"
#include "tests/fuzz/input.h"

namespace sheaf {
namespace {

void FuzzMounts(std::string_view text) {
  const std::vector<cli::Mount> mounts = cli::ParseMountInfo(text);
  CHECK(mounts.size() <= text.size() / 4 + 1, "more mounts than lines");
  for (const cli::Mount& mount : mounts) {
    CHECK(fuse::FindMountDevice(text, mount.point).has_value(),
          "the command sees a mount that the daemon does not");
    const cli::Mount* found = cli::FindMountOf(mounts, mount.point);
    if (mount.point.starts_with('/')) {
      CHECK(found != nullptr && found->point == mount.point, "a mount point is in its own mount");
    }
  }
}

void FuzzSize(const std::string& text) {
  for (const uint64_t max : {uint64_t{1}, uint64_t{1} << 20, uint64_t{1} << 50, UINT64_MAX}) {
    const uint64_t min = max == 1 ? 0 : max / 2;
    const auto size = cli::ParseSize("--size", text, min, max);
    if (size.ok()) {
      CHECK(*size >= min && *size <= max, cli::FormatSize(*size));
    } else {
      CHECK(size.status().code() == Code::kUsage);
    }
  }
}

}  // namespace
}  // namespace sheaf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  if (input.TakeByte() % 4 != 0) {
    sheaf::FuzzMounts(input.TakeRest());
  } else {
    sheaf::FuzzSize(std::string(input.TakeRest()));
  }
  return 0;
}
