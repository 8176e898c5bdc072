#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "client/chunk/writer_identity.h"
#include "client/meta/cluster_client.h"
#include "client/meta/request_ledger.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/status.h"

namespace sheaf::client {

// What the session must know of open files to pin them; the inode table, or a fake.
class OpenInodes {
 public:
  virtual ~OpenInodes() = default;
  // Marks now: opens begun before it are settled once OpensSettled(mark).
  virtual uint64_t OpenMark() const = 0;
  virtual bool OpensSettled(uint64_t mark) const = 0;
  virtual bool IsOpen(InodeId inode) const = 0;
  // Whether an open file still reads the bytes that `data` names.
  virtual bool UsesData(InodeId inode, DataId data) const = 0;
};

// The client's session: an incarnation number under which mutations and writes are made, kept
// alive by one thread. Thread-safe.
//
// 1. A removal epoch is acknowledged only with the complete list of the inodes removed and the
//    data_ids replaced through it that are in use here, and only once every open that was under way
//    when the answer came has settled: so what was opened just before its removal is pinned, too.
// 2. When the service no longer knows the session, a new one takes its place, with a new ledger:
//    requests of the old one are over.
class Session : public WriterIdentity {
 public:
  static Result<std::unique_ptr<Session>> Open(ClusterClient& cluster,
                                               const std::string& description,
                                               const OpenInodes& open_inodes);
  // Ends the session at the service, too, if it can be reached.
  ~Session() override;

  Incarnation incarnation() const override;
  void ReportLost(Incarnation lost) override;
  std::shared_ptr<RequestLedger> ledger() const;
  // Where the service takes framed calls, as it said when the session was opened.
  std::shared_ptr<const proto::MetaFrames> frames() const;

  // Opens a new session unless that has been done since `lost` was current.
  Status Replace(Incarnation lost);

  // Renewals of the session, and those that failed. Thread-safe.
  uint64_t renewals() const { return renewals_.load(std::memory_order_relaxed); }
  uint64_t renewal_errors() const { return renewal_errors_.load(std::memory_order_relaxed); }

  // The last handle on `inode` is gone: its pin, if any, is dropped soon.
  void InodeClosed(InodeId inode);

 private:
  // An answer's removals, not acknowledged yet.
  struct Removals {
    uint64_t epoch = 0;
    uint64_t open_mark = 0;
    std::vector<InodeId> inodes;
    std::vector<std::pair<InodeId, DataId>> data;
  };
  struct State {
    std::shared_ptr<RequestLedger> ledger;
    std::shared_ptr<const proto::MetaFrames> frames;
    uint64_t acked_epoch = 0;
    std::set<InodeId> pinned;
    std::set<std::pair<InodeId, DataId>> pinned_data;
    std::unique_ptr<Removals> unacked;
    std::chrono::milliseconds renew{5000};
    bool lost = false;
    bool wake = false;
    bool stopping = false;
  };

  Session(ClusterClient& cluster, std::string description, const OpenInodes& open_inodes);
  Status OpenNew();
  void RenewLoop();
  // Answers how long to wait until the next.
  std::chrono::milliseconds RenewOnce();
  proto::RenewSessionRequest NextRequest(State& state);
  bool Accept(Incarnation asked_for, const proto::RenewSessionResponse& response);

  ClusterClient& cluster_;
  const std::string description_;
  const OpenInodes& open_inodes_;
  Guarded<std::monostate> replacing_;  // taken before state_; one replacement at a time
  Guarded<State> state_;
  std::condition_variable changed_;
  std::atomic<uint64_t> renewals_{0};
  std::atomic<uint64_t> renewal_errors_{0};
  std::thread renewer_;
};

}  // namespace sheaf::client
