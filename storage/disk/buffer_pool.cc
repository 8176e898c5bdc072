#include "storage/disk/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "common/buffer.h"

namespace sheaf::storage {
namespace {

constexpr size_t kPage = kDirectAlignment;

uint32_t PagesFor(size_t bytes) {
  return static_cast<uint32_t>((std::max<size_t>(bytes, 1) + kPage - 1) / kPage);
}

}  // namespace

class BufferPool::Buffer : public PooledBuffer {
 public:
  Buffer(std::shared_ptr<BufferPool> pool, std::span<uint8_t> bytes)
      : pool_(std::move(pool)), bytes_(bytes) {}
  ~Buffer() override { pool_->Free(bytes_); }
  std::span<uint8_t> span() override { return bytes_; }

 private:
  std::shared_ptr<BufferPool> pool_;
  std::span<uint8_t> bytes_;
};

Result<std::shared_ptr<BufferPool>> BufferPool::Create(uint64_t bytes) {
  const size_t length = size_t{PagesFor(bytes)} * kPage;
  void* memory =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return Status::FromErrno(errno, "map buffer pool of " + std::to_string(length) + " bytes");
  // Fewer, larger pages for the ring to pin and the TLB to hold; refusal costs only speed.
  (void)::madvise(memory, length, MADV_HUGEPAGE);
  return std::shared_ptr<BufferPool>(new BufferPool({static_cast<uint8_t*>(memory), length}));
}

BufferPool::BufferPool(std::span<uint8_t> region)
    : region_(region), pages_(static_cast<uint32_t>(region.size() / kPage)) {}

BufferPool::~BufferPool() { ::munmap(region_.data(), region_.size()); }

BufferRef BufferPool::Allocate(size_t bytes) {
  if (bytes > region_.size()) return nullptr;
  const uint32_t count = PagesFor(bytes);
  std::optional<uint32_t> first;
  {
    std::lock_guard lock(mutex_);
    first = pages_.Allocate(count);
  }
  if (!first) return nullptr;
  return std::make_shared<Buffer>(shared_from_this(),
                                  region_.subspan(*first * kPage, count * kPage));
}

bool BufferPool::HasRoom(size_t bytes) const {
  if (bytes > region_.size()) return false;
  std::lock_guard lock(mutex_);
  return pages_.CanAllocate(PagesFor(bytes));
}

void BufferPool::Free(std::span<uint8_t> bytes) {
  const size_t first = static_cast<size_t>(bytes.data() - region_.data()) / kPage;
  std::lock_guard lock(mutex_);
  pages_.Free(static_cast<uint32_t>(first), static_cast<uint32_t>(bytes.size() / kPage));
}

uint64_t BufferPool::used_bytes() const {
  std::lock_guard lock(mutex_);
  return region_.size() - uint64_t{pages_.free_pages()} * kPage;
}

}  // namespace sheaf::storage
