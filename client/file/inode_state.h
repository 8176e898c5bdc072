#pragma once

#include <atomic>
#include <mutex>
#include <optional>

#include "client/file/file_writes.h"
#include "client/file/io_gate.h"
#include "client/sheaf.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

// What this client knows of a regular file that it has open, shared by all its handles.
// Thread-safe. Lock order: io_gate, report_mutex, writes.state, then the state's own.
//
// 1. Within one size epoch the length is the larger of what metadata told, what is on the chains
//    and what is buffered here. A truncate raises the epoch: then metadata's answer is the truth.
// 2. A length is *settled* when every byte written here below it is on the chains. Only that is
//    reported to the metadata service.
// 3. The file is dirty when it was written since its times were stamped there, or when more is
//    settled than was reported.
// 4. Answers of the metadata service may arrive out of order: an older version is ignored.
class InodeState {
 public:
  struct View {
    Layout layout;
    DataId data_id;
    SizeEpoch size_epoch;
    uint64_t length = 0;
  };

  explicit InodeState(InodeId inode) : inode_(inode) {}

  InodeId inode() const { return inode_; }
  View view() const;

  // Takes in the attributes of an answer. kCorrupt when the layout makes no sense.
  Status Adopt(const proto::Attr& attr);
  // Puts what is known only here over an answer's attributes.
  void Overlay(FileAttr& attr) const;

  // A write by this client, under `size_epoch`; each is ignored when a truncate by another client
  // has overtaken it. Bytes before `end` were put into memory:
  void NoteBuffered(SizeEpoch size_epoch, uint64_t end, int64_t now_ns);
  // ... may be on the chains:
  void NoteDurable(SizeEpoch size_epoch, uint64_t end);
  // ... and all written below `length` are, or are lost:
  void NoteSettled(SizeEpoch size_epoch, uint64_t length);
  // Both of the first, for a write that is not buffered.
  void NoteWrite(SizeEpoch size_epoch, uint64_t end, int64_t now_ns);
  // Nothing is buffered at `buffered_end` or beyond it: the length falls back if it was.
  void FallBackTo(uint64_t buffered_end);

  bool IsDirty() const;
  // Whether times are to be stamped that a later report would change.
  bool IsUnstamped() const { return state_.Lock()->unstamped; }
  // Whether the chains have more than the settled length.
  bool IsAheadOfSettled() const;
  // What to report, if dirty; the file counts as clean from here on.
  std::optional<proto::LengthReport> TakeReport();
  void ReportDone();
  void ReportFailed(const proto::LengthReport& report);
  // The caller is about to set the modification time itself, which spares stamping it: true if
  // that is all a report would have done. Put back by ReportFailed.
  bool TakeStamp();
  void PutBackStamp();

  // Raised by whatever makes bytes read before stale: a write, a truncate, a change of data_id.
  uint64_t content_changes() const { return content_changes_.load(std::memory_order_acquire); }

  // Who may settle the length on behalf of nobody in particular: the last to open for writing.
  void SetWriter(const Credentials& who) { state_.Lock()->writer = who; }
  Credentials writer() const { return state_.Lock()->writer; }

  IoGate io_gate;                 // shared by reads and writes, exclusive to truncation
  std::timed_mutex report_mutex;  // one report at a time, so that a second fsync waits for it
  FileWrites writes;              // WriteBehind's

 private:
  struct State {
    View view;
    uint64_t version = 0;
    uint32_t mode = 0;
    uint64_t durable = 0;
    uint64_t settled = 0;
    uint64_t known = 0;         // metadata's length when it answered last
    uint64_t reported = 0;      // the same, or what a report under way tells
    bool unstamped = false;     // written since the times were stamped
    int64_t last_write_ns = 0;  // of what metadata has not stamped yet; 0: none
    Credentials writer;
  };

  void NoteContentChange() { content_changes_.fetch_add(1, std::memory_order_acq_rel); }

  const InodeId inode_;
  std::atomic<uint64_t> content_changes_ = 0;
  Guarded<State> state_;
};

}  // namespace sheaf::client
