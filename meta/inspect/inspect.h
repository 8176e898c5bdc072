#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/facts.h"
#include "common/status.h"

// A look at the metadata service's directory from outside. Nothing is written, no lock is taken: it
// works beside a running service too, and then shows what had been written when it was opened.

namespace sheaf::meta {

struct InspectRequest {
  std::string directory;
  // summary; rows [TABLE]; inode N; dentry PARENT NAME; directory N; removals; intents; sessions;
  // chains
  std::string what = "summary";
  std::vector<std::string> arguments;
  uint64_t limit = 1000;  // rows shown; 0: all
};

// kUsage for an unknown thing or missing arguments; kNotFound for a row that is not there; kCorrupt
// names one that does not decode (a listing shows such a row with its error and goes on).
Status Inspect(const InspectRequest& request, const PrintFacts& print);

}  // namespace sheaf::meta
