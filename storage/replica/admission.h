#pragma once

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage/replica/chain_map.h"

namespace sheaf::storage {

// Whether this node serves a request now. Pure: state and request in, verdict out.

enum class Access { kRead, kMutate };

struct AdmissionRequest {
  ChainId chain;
  ChainVersion chain_version;
  Incarnation incarnation;  // 0: a stock client without a session, which is never fenced
  Access access = Access::kRead;
};

struct AdmissionState {
  const ChainMap* map = nullptr;    // null: none applied yet
  Clock::Instant lease_deadline{};  // the node serves before it
  Clock::Instant now{};
};

// The chain, valid as long as the map. In this order:
//   kNotServing  no valid lease, or no map: another node may serve this chain by now
//   kWrongChain  the chain is not here, or its version is an older or a newer one
//   kNotServing  our member of it does not serve
//   kFenced      a mutation of a client whose session is over
Result<const ChainView*> Admit(const AdmissionState& state, const AdmissionRequest& request);

// Whether the node may answer anything at all: the first check alone.
Status CheckLease(const AdmissionState& state);

}  // namespace sheaf::storage
