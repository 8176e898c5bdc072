#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/length_prober.h"

namespace sheaf::meta {

class Executor;
class ReadView;

// Raises the lengths of the files that an ended session had open for writing to what the chains
// hold. A file's write-open goes in the step that settles it, so what is left to do is what is
// stored, and a restart goes on with it.
//
// Thread safety: all calls; one at a time a session. They block.
class SessionSettler {
 public:
  static constexpr size_t kPage = 64;  // files looked at together

  // Both outlive this. `probe_timeout` is for a page.
  SessionSettler(Executor& executor, LengthProber& prober, std::chrono::milliseconds probe_timeout)
      : executor_(executor), prober_(prober), probe_timeout_(probe_timeout) {}

  // One pass over the session's files. Ok when none is left; else why the first one is, and the
  // others were settled all the same.
  // REQUIRES: the session is fenced everywhere.
  Status Settle(Incarnation session);

 private:
  struct File {
    InodeId inode;
    SizeEpoch epoch;
    ProbeJob job;
    bool gone = false;  // nothing to settle
    Status status;
  };

  Result<std::vector<InodeId>> ReadPage(Incarnation session, InodeId after) const;
  static void LookAt(const ReadView& view, File& file);
  void Probe(std::vector<File>& files, std::vector<uint64_t>* reach);
  void Store(Incarnation session, std::vector<File>& files, const std::vector<uint64_t>& reach);
  void SettlePage(Incarnation session, std::vector<File>& files);

  Executor& executor_;
  LengthProber& prober_;
  const std::chrono::milliseconds probe_timeout_;
};

}  // namespace sheaf::meta
