#pragma once

#include "common/ids.h"

namespace sheaf::client {

// Under which session writes are sent; faked in tests.
class WriterIdentity {
 public:
  virtual ~WriterIdentity() = default;
  virtual Incarnation incarnation() const = 0;
  // Storage refused `lost`: a new session is wanted. Returns at once.
  virtual void ReportLost(Incarnation lost) = 0;
};

}  // namespace sheaf::client
