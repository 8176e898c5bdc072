#pragma once

#include <mutex>
#include <optional>

#include "client/file/io_gate.h"
#include "client/sheaf.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

// What this client knows of a regular file that it has open, shared by all its handles.
// Thread-safe. Lock order: io_gate, append_mutex, report_mutex, then the state's own.
//
// 1. `length` is the larger of what metadata told and what was written here, within one size
//    epoch. A truncate raises the epoch: then metadata's answer is the truth.
// 2. The file is dirty when something was written since the last report to the metadata service.
// 3. Answers of the metadata service may arrive out of order: an older version is ignored.
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

  // Bytes before `end` may have been written, under `size_epoch`; ignored when a truncate by
  // another client has overtaken the write.
  void NoteWrite(SizeEpoch size_epoch, uint64_t end, int64_t now_ns);
  bool IsDirty() const;
  // What to report, if dirty; the file counts as clean from here on.
  std::optional<proto::LengthReport> TakeReport();
  void ReportDone();
  void ReportFailed(const proto::LengthReport& report);

  // Who may settle the length on behalf of nobody in particular: the last to open for writing.
  void SetWriter(const Credentials& who) { state_.Lock()->writer = who; }
  Credentials writer() const { return state_.Lock()->writer; }

  IoGate io_gate;                 // shared by reads and writes, exclusive to truncation
  std::timed_mutex append_mutex;  // one append at a time
  std::timed_mutex report_mutex;  // one report at a time, so that a second fsync waits for it

 private:
  struct State {
    View view;
    uint64_t version = 0;
    bool dirty = false;
    int64_t last_write_ns = 0;  // of what metadata has not stamped yet; 0: none
    Credentials writer;
  };

  const InodeId inode_;
  Guarded<State> state_;
};

}  // namespace sheaf::client
