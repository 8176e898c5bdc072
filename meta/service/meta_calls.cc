#include "meta/service/meta_calls.h"

namespace sheaf::meta {

MetaCalls::MetaCalls(Parts parts)
    : parts_(std::move(parts)),
      metrics_{
#define X(Name, name, Response) {parts_.metrics, "meta", #name},
          SHEAF_ALL_META_CALLS(X)
#undef X
      } {
}

Status MetaCalls::CheckCaller(const proto::Context& context) {
  const int groups = context.caller().groups_size();
  if (groups <= kMaxGroups) return Status::Ok();
  return {Code::kInvalid, "call: its caller has " + std::to_string(groups) +
                              " groups, the limit is " + std::to_string(kMaxGroups)};
}

}  // namespace sheaf::meta
