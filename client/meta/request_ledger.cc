#include "client/meta/request_ledger.h"

namespace sheaf::client {

uint64_t RequestLedger::Begin() {
  auto state = state_.Lock();
  state->outstanding.insert(state->next);
  return state->next++;
}

void RequestLedger::End(uint64_t sequence) { state_.Lock()->outstanding.erase(sequence); }

uint64_t RequestLedger::Lowest() const { return *state_.Lock()->outstanding.begin(); }

}  // namespace sheaf::client
