#include "storage/replica/admission.h"

#include <string>

#include "storage/replica/planted.h"

namespace sheaf::storage {
namespace {

std::string Name(const AdmissionRequest& request) {
  return "chain " + ToString(request.chain) + ": ";
}

Status CheckVersion(const AdmissionRequest& request, const ChainView& chain) {
  if (request.chain_version == chain.version) return Status::Ok();
  const char* relation = request.chain_version < chain.version ? "older" : "newer";
  return {Code::kWrongChain, Name(request) + "request has an " + relation + " version (" +
                                 ToString(request.chain_version) + ", here " +
                                 ToString(chain.version) + ")"};
}

bool MemberServes(const MemberView& member, Access access) {
  // One that leaves will not hear of it when the chain commits without it.
  if (member.state == proto::SERVING) return !member.leaving || access == Access::kMutate;
  // One that catches up takes writes; what it holds may be behind.
  return member.state == proto::SYNCING && access == Access::kMutate;
}

}  // namespace

Status CheckLease(const AdmissionState& state) {
  if (state.map == nullptr) return {Code::kNotServing, "admit: no cluster map yet"};
  if (state.now >= state.lease_deadline && !Planted(Bug::kServeWithoutLease))
    return {Code::kNotServing, "admit: this node's lease has run out"};
  return Status::Ok();
}

Result<const ChainView*> Admit(const AdmissionState& state, const AdmissionRequest& request) {
  RETURN_IF_ERROR(CheckLease(state));
  auto found = state.map->chains.find(request.chain);
  if (found == state.map->chains.end())
    return Status{Code::kWrongChain, Name(request) + "no replica on this node (map version " +
                                         ToString(state.map->version) + ")"};
  const ChainView& chain = found->second;
  RETURN_IF_ERROR(CheckVersion(request, chain));
  if (!MemberServes(chain.local(), request.access))
    return Status{
        Code::kNotServing,
        Name(request) + "target " + ToString(chain.local().target) + " is " +
            (chain.local().leaving ? "leaving" : proto::TargetState_Name(chain.local().state))};
  if (request.access == Access::kMutate && request.incarnation.IsSet() &&
      state.map->IsFenced(request.incarnation) && !Planted(Bug::kServeFenced))
    return Status{Code::kFenced,
                  Name(request) + "client session " + ToString(request.incarnation) + " is fenced"};
  return &chain;
}

}  // namespace sheaf::storage
