#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/facts.h"
#include "common/status.h"

// A look at a target's directory from outside. Nothing is written, no lock is taken: it works
// beside a running server too, and then shows what had been committed when it was opened (blocks
// of a chunk that is changed meanwhile may be another's by then).

namespace sheaf::storage {

struct InspectRequest {
  std::string directory;
  // summary; slabs; chunks [CHAIN]; chunk CHAIN DATA_ID INDEX
  std::string what = "summary";
  std::vector<std::string> arguments;
  bool verify = false;    // of one chunk: read its blocks and compare the checksums
  uint64_t limit = 1000;  // chunks shown; 0: all
};

// kUsage for an unknown thing or missing arguments; kNotFound for a chunk that is not there;
// kCorrupt when a block is not what its checksums say, or the entry does not decode.
Status Inspect(const InspectRequest& request, const PrintFacts& print);

}  // namespace sheaf::storage
