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
  auto buffered = writes.state.Lock();  // a truncate drops what is buffered beyond the new end
  auto state = state_.Lock();
  if (attr.version() < state->version) return Status::Ok();
  state->version = attr.version();
  state->mode = attr.mode();
  View& view = state->view;
  const bool truncated = view.size_epoch != SizeEpoch(attr.size_epoch());
  const bool replaced = view.data_id != DataId(attr.data_id());
  if (truncated || replaced) NoteContentChange();
  view.layout = layout;
  view.data_id = DataId(attr.data_id());
  view.size_epoch = SizeEpoch(attr.size_epoch());
  if (!truncated) {
    view.length = std::max(view.length, attr.size());
    state->durable = std::max(state->durable, attr.size());
    state->settled = std::max(state->settled, attr.size());
    state->known = state->reported = attr.size();
    return Status::Ok();
  }
  // What was written before the truncate has no length to report.
  if (buffered->buffer) {
    buffered->buffer->CutBeyond(replaced ? 0 : attr.size());
    writes.changed.notify_all();
  }
  view.length = state->durable = state->settled = attr.size();
  state->known = state->reported = attr.size();
  state->unstamped = false;
  state->last_write_ns = 0;
  return Status::Ok();
}

void InodeState::Overlay(FileAttr& attr) const {
  auto state = state_.Lock();
  attr.size = state->view.length;
  attr.mtime_ns = std::max(attr.mtime_ns, state->last_write_ns);
  attr.ctime_ns = std::max(attr.ctime_ns, state->last_write_ns);
}

void InodeState::NoteBuffered(SizeEpoch size_epoch, uint64_t end, int64_t now_ns) {
  NoteContentChange();
  auto state = state_.Lock();
  if (state->view.size_epoch != size_epoch) return;
  state->view.length = std::max(state->view.length, end);
  state->last_write_ns = std::max(state->last_write_ns, now_ns);
  state->unstamped = true;
}

void InodeState::NoteDurable(SizeEpoch size_epoch, uint64_t end) {
  auto state = state_.Lock();
  if (state->view.size_epoch != size_epoch) return;
  state->durable = std::max(state->durable, end);
  state->view.length = std::max(state->view.length, end);
}

void InodeState::NoteSettled(SizeEpoch size_epoch, uint64_t length) {
  auto state = state_.Lock();
  if (state->view.size_epoch != size_epoch) return;
  state->settled = std::max(state->settled, std::min(length, state->durable));
}

void InodeState::NoteWrite(SizeEpoch size_epoch, uint64_t end, int64_t now_ns) {
  NoteDurable(size_epoch, end);
  NoteBuffered(size_epoch, end, now_ns);
}

void InodeState::FallBackTo(uint64_t buffered_end) {
  auto state = state_.Lock();
  state->view.length = std::min(state->view.length, std::max(state->durable, buffered_end));
}

bool InodeState::IsDirty() const {
  auto state = state_.Lock();
  return state->unstamped || state->settled > state->reported;
}

bool InodeState::IsAheadOfSettled() const {
  auto state = state_.Lock();
  return state->durable > state->settled;
}

std::optional<proto::LengthReport> InodeState::TakeReport() {
  auto state = state_.Lock();
  if (!state->unstamped && state->settled <= state->reported) return std::nullopt;
  proto::LengthReport report;
  report.set_size_epoch(state->view.size_epoch.value());
  report.set_length(state->settled);
  report.set_wrote(state->unstamped);
  state->unstamped = false;
  state->reported = state->settled;
  return report;
}

void InodeState::ReportDone() {
  auto state = state_.Lock();
  if (!state->unstamped) state->last_write_ns = 0;
}

void InodeState::ReportFailed(const proto::LengthReport& report) {
  auto state = state_.Lock();
  if (state->view.size_epoch != SizeEpoch(report.size_epoch())) return;
  state->unstamped |= report.wrote();
  state->reported = state->known;
}

bool InodeState::TakeStamp() {
  auto state = state_.Lock();
  // Set-id bits are taken away by a report that stamps.
  if (!state->unstamped || (state->mode & (S_ISUID | S_ISGID)) != 0) return false;
  state->unstamped = false;
  state->last_write_ns = 0;
  return true;
}

void InodeState::PutBackStamp() { state_.Lock()->unstamped = true; }

}  // namespace sheaf::client
