// What a client takes from the metadata service's answers: attributes, which carry the layout that
// every later read and write is cut by. Whatever an answer says, what is taken in can be cut into
// chunks: no piece leaves its chunk, and the pieces are the range.

#include "client/file/attr.h"
#include "client/file/inode_state.h"
#include "tests/fuzz/input.h"

namespace sheaf::client {
namespace {

void CheckCut(const Layout& layout, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  for (int piece = 0; piece < 100 && offset < end; ++piece) {
    const ChunkRange range = FirstChunkRange(layout, offset, end - offset);
    CHECK(range.file_offset == offset && range.length > 0, "a piece that goes nowhere");
    CHECK(uint64_t{range.offset} + range.length <= layout.chunk_size(), "a piece out of its chunk");
    CHECK(range.index * layout.chunk_size() + range.offset == offset, "a piece of another place");
    offset += range.length;
  }
}

void Fuzz(const std::vector<proto::Attr>& answers) {
  InodeState inode(InodeId(5));
  for (const proto::Attr& attr : answers) {
    const FileAttr shown = AttrFromProto(attr);
    CHECK(shown.chunk_size == 0 || shown.IsRegular());
    if (!inode.Adopt(attr).ok()) continue;
    const InodeState::View view = inode.view();
    CHECK(view.layout.Validate().ok() && view.length <= kMaxFileSize, "adopted what is no file");
    if (view.length > 0) {
      CheckCut(view.layout, 0, view.length);
      CheckCut(view.layout, view.length - std::min<uint64_t>(view.length, 1 << 20),
               std::min<uint64_t>(view.length, 1 << 20));
    }
    const uint64_t end = view.length / 2 + 1;
    inode.NoteWrite(view.size_epoch, end, 1);
    inode.NoteSettled(view.size_epoch, std::max(view.length, end));
    const auto report = inode.TakeReport();
    CHECK(report.has_value() && report->length() >= view.length, "a report that shortens");
  }
}

}  // namespace
}  // namespace sheaf::client

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  std::vector<sheaf::proto::Attr> answers;
  while (!input.empty() && answers.size() < 8) {
    const std::string_view piece = input.TakePiece();
    sheaf::proto::Attr attr;
    if (!attr.ParseFromArray(piece.data(), static_cast<int>(piece.size()))) return 0;
    answers.push_back(std::move(attr));
  }
  sheaf::client::Fuzz(answers);
  return 0;
}
