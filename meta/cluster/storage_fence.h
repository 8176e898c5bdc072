#pragma once

#include "common/ids.h"

namespace sheaf::meta {

// Keeps ended sessions from the storage servers. Thread-safe.
class StorageFence {
 public:
  virtual ~StorageFence() = default;

  // Every session whose row is gone or says "fenced", as committed now, is to be refused by
  // storage. Does not wait for that.
  virtual void FenceEnded() = 0;
  // Whether that has come about for `session`: nothing of it is under way on a storage server, and
  // nothing will be admitted. False for a while after a restart.
  virtual bool FencedEverywhere(Incarnation session) const = 0;
};

}  // namespace sheaf::meta
