#include "storage/engine/chunk_record.h"

#include <algorithm>

#include "common/crc32c.h"
#include "common/status.h"

namespace sheaf::storage {

uint32_t ZeroUnitCrc() {
  static const uint32_t crc = [] {
    static constexpr std::array<uint8_t, kUnitBytes> kZeros{};
    return Crc32c(kZeros);
  }();
  return crc;
}

namespace {

template <typename T>
std::span<const uint8_t> BytesOf(const T& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()),
          values.size() * sizeof(typename T::value_type)};
}

uint32_t HolePageChecksum() {
  static const uint32_t checksum = [] {
    ChunkPage page;
    page.Seal();
    return page.checksum;
  }();
  return checksum;
}

void DropBlock(ChunkPage& page, uint32_t in_page, std::vector<BlockNumber>& dropped) {
  if (page.blocks[in_page] == kNoBlock) return;
  dropped.push_back(page.blocks[in_page]);
  page.blocks[in_page] = kNoBlock;
  std::fill_n(page.unit_crcs.begin() + in_page * kUnitsPerBlock, kUnitsPerBlock, ZeroUnitCrc());
}

// Copies of the pages a change touches, made once each.
class PageEditor {
 public:
  explicit PageEditor(ChunkRecord& record) : record_(record), copies_(record.pages.size()) {}

  ChunkPage& Edit(uint32_t page) {
    auto& copy = copies_[page];
    if (copy == nullptr) {
      const auto& old = record_.pages[page];
      copy = old != nullptr ? std::make_shared<ChunkPage>(*old) : std::make_shared<ChunkPage>();
    }
    return *copy;
  }

  void Finish() {
    for (uint32_t page = 0; page < copies_.size(); ++page) {
      if (copies_[page] == nullptr) continue;
      copies_[page]->Seal();
      if (copies_[page]->IsHole()) {
        record_.pages[page] = nullptr;
      } else {
        record_.pages[page] = std::move(copies_[page]);
      }
    }
  }

 private:
  ChunkRecord& record_;
  std::vector<std::shared_ptr<ChunkPage>> copies_;
};

void DropTail(ChunkRecord& record, uint32_t length, std::vector<BlockNumber>& dropped) {
  const uint32_t pages = ChunkRecord::PagesFor(length);
  for (uint32_t page = pages; page < record.pages.size(); ++page) {
    if (record.pages[page] == nullptr) continue;
    for (BlockNumber block : record.pages[page]->blocks) {
      if (block != kNoBlock) dropped.push_back(block);
    }
  }
  record.pages.resize(pages);
  if (pages == 0 || record.pages.back() == nullptr) return;
  const uint32_t first_gone = (length - (pages - 1) * kPageBytes + kBlockBytes - 1) / kBlockBytes;
  const auto& last = record.pages.back()->blocks;
  if (std::all_of(last.begin() + first_gone, last.end(),
                  [](BlockNumber block) { return block == kNoBlock; })) {
    return;
  }
  PageEditor editor(record);
  for (uint32_t block = first_gone; block < kBlocksPerPage; ++block) {
    DropBlock(editor.Edit(pages - 1), block, dropped);
  }
  editor.Finish();
}

void EditBlocks(ChunkRecord& record, const std::vector<BlockUpdate>& blocks,
                std::vector<BlockNumber>& dropped) {
  PageEditor editor(record);
  for (const BlockUpdate& update : blocks) {
    CHECK(update.logical / kBlocksPerPage < record.pages.size(), "block past the chunk's length");
    ChunkPage& page = editor.Edit(update.logical / kBlocksPerPage);
    const uint32_t in_page = update.logical % kBlocksPerPage;
    DropBlock(page, in_page, dropped);
    page.blocks[in_page] = update.block;
    std::copy(update.unit_crcs.begin(), update.unit_crcs.end(),
              page.unit_crcs.begin() + in_page * kUnitsPerBlock);
  }
  editor.Finish();
}

}  // namespace

ChunkPage::ChunkPage() {
  blocks.fill(kNoBlock);
  unit_crcs.fill(ZeroUnitCrc());
}

void ChunkPage::Seal() { checksum = Crc32c(BytesOf(unit_crcs)); }

bool ChunkPage::IsHole() const {
  return std::all_of(blocks.begin(), blocks.end(), [](BlockNumber b) { return b == kNoBlock; });
}

uint32_t ChunkRecord::ComputeChecksum() const {
  std::vector<uint32_t> words;
  words.reserve(pages.size() + 1);
  words.push_back(length);
  for (const auto& page : pages) {
    words.push_back(page != nullptr ? page->checksum : HolePageChecksum());
  }
  return Crc32c(BytesOf(words));
}

BlockNumber ChunkRecord::BlockAt(uint32_t logical) const {
  const uint32_t page = logical / kBlocksPerPage;
  if (page >= pages.size() || pages[page] == nullptr) return kNoBlock;
  return pages[page]->blocks[logical % kBlocksPerPage];
}

uint32_t ChunkRecord::UnitCrc(uint32_t unit) const {
  const uint32_t page = unit / kUnitsPerPage;
  if (page >= pages.size() || pages[page] == nullptr) return ZeroUnitCrc();
  return pages[page]->unit_crcs[unit % kUnitsPerPage];
}

RecordRef NextRecord(const ChunkRecord* base, const RecordChange& change,
                     std::vector<BlockNumber>& dropped) {
  auto next = base != nullptr ? std::make_shared<ChunkRecord>(*base)
                              : std::make_shared<ChunkRecord>();
  next->version = ChunkVersion(next->version.value() + 1);
  next->chunk_size = change.chunk_size;
  next->chain_version = change.chain_version;
  if (change.length < next->length) DropTail(*next, change.length, dropped);
  next->length = change.length;
  next->pages.resize(ChunkRecord::PagesFor(change.length));
  EditBlocks(*next, change.blocks, dropped);
  next->checksum = next->ComputeChecksum();
  return next;
}

RecordRef MovedRecord(const ChunkRecord& record, const std::vector<BlockUpdate>& blocks,
                      std::vector<BlockNumber>& dropped) {
  const size_t before = dropped.size();
  auto moved = std::make_shared<ChunkRecord>(record);
  EditBlocks(*moved, blocks, dropped);
  CHECK(dropped.size() - before == blocks.size(), "a hole was filled");
  CHECK(moved->ComputeChecksum() == record.checksum, "other bytes were put in");
  return moved;
}

void AppendBlocks(const ChunkRecord& record, std::vector<BlockNumber>& blocks) {
  for (const auto& page : record.pages) {
    if (page == nullptr) continue;
    for (BlockNumber block : page->blocks) {
      if (block != kNoBlock) blocks.push_back(block);
    }
  }
}

}  // namespace sheaf::storage
