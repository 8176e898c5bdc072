#include "client/file/inode_state.h"

#include <algorithm>

#include "client/file/attr.h"

namespace sheaf::client {

InodeState::View InodeState::view() const { return state_.Lock()->view; }

Status InodeState::Adopt(const proto::Attr& attr) {
  const Layout layout = LayoutFromProto(attr.layout());
  if (Status valid = layout.Validate(); !valid.ok()) {
    return Status(Code::kCorrupt, valid.message()).With("inode " + ToString(inode_));
  }
  // Past it a chunk's number would not fit, and bytes would be looked for in another chunk.
  if (attr.size() > kMaxFileSize) {
    return {Code::kCorrupt, "inode " + ToString(inode_) + ": its length " +
                                std::to_string(attr.size()) + " is past the largest file"};
  }
  auto state = state_.Lock();
  if (attr.version() < state->version) return Status::Ok();
  state->version = attr.version();
  View& view = state->view;
  const bool truncated = view.size_epoch != SizeEpoch(attr.size_epoch());
  view.layout = layout;
  view.data_id = DataId(attr.data_id());
  view.size_epoch = SizeEpoch(attr.size_epoch());
  view.length = truncated ? attr.size() : std::max(view.length, attr.size());
  if (truncated) {
    state->dirty = false;  // what was written before the truncate has no length to report
    state->last_write_ns = 0;
  }
  return Status::Ok();
}

void InodeState::Overlay(FileAttr& attr) const {
  auto state = state_.Lock();
  attr.size = state->view.length;
  attr.mtime_ns = std::max(attr.mtime_ns, state->last_write_ns);
  attr.ctime_ns = std::max(attr.ctime_ns, state->last_write_ns);
}

void InodeState::NoteWrite(SizeEpoch size_epoch, uint64_t end, int64_t now_ns) {
  auto state = state_.Lock();
  if (state->view.size_epoch != size_epoch) return;
  state->view.length = std::max(state->view.length, end);
  state->last_write_ns = std::max(state->last_write_ns, now_ns);
  state->dirty = true;
}

bool InodeState::IsDirty() const { return state_.Lock()->dirty; }

std::optional<proto::LengthReport> InodeState::TakeReport() {
  auto state = state_.Lock();
  if (!state->dirty) return std::nullopt;
  state->dirty = false;
  proto::LengthReport report;
  report.set_size_epoch(state->view.size_epoch.value());
  report.set_length(state->view.length);
  report.set_wrote(true);
  return report;
}

void InodeState::ReportDone() {
  auto state = state_.Lock();
  if (!state->dirty) state->last_write_ns = 0;
}

void InodeState::ReportFailed(const proto::LengthReport& report) {
  auto state = state_.Lock();
  if (state->view.size_epoch == SizeEpoch(report.size_epoch())) state->dirty = true;
}

}  // namespace sheaf::client
