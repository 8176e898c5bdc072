#include "storage/disk/disk_context.h"

#include <sys/eventfd.h>

#include <cerrno>

#include "common/buffer.h"
#include "common/log.h"

namespace sheaf::storage {
namespace {

constexpr size_t kIdleTransfers = 256;

}  // namespace

// One read or write, resumed until all of it is done. Owns the buffer and the file meanwhile.
class DiskContext::Transfer : public Op {
 public:
  explicit Transfer(DiskContext& context) : context_(context) {}

  void Begin(const Uring::File& file, std::shared_ptr<const OpenFile> open, uint64_t offset,
             BufferRef buffer, std::span<uint8_t> bytes, bool write, IoDone done) {
    file_ = file;
    open_ = std::move(open);
    offset_ = offset;
    buffer_ = std::move(buffer);
    left_ = bytes;
    write_ = write;
    done_ = std::move(done);
    began_ = std::chrono::steady_clock::now();
    size_ = bytes.size();
    ++context_.transfers_in_flight_;
    Go();
  }

 private:
  void Go() {
    if (write_) {
      context_.ring_->WriteFile(*this, file_, offset_, left_);
    } else {
      context_.ring_->ReadFile(*this, file_, offset_, left_);
    }
  }

  void Complete(int32_t result, bool) override {
    if (result == -EINTR || result == -EAGAIN) return Go();
    if (result < 0) return End(Status::FromErrno(-result, Describe()));
    // Direct I/O goes on at a block: what was moved of a part of one is moved again.
    size_t moved = static_cast<size_t>(result);
    if (moved < left_.size()) moved = moved / kDirectAlignment * kDirectAlignment;
    if (moved == 0) return End({Code::kIo, Describe() + ": nothing moved, past the file's end?"});
    offset_ += moved;
    left_ = left_.subspan(moved);
    if (left_.empty()) return End(Status::Ok());
    Go();
  }

  std::string Describe() const {
    return std::string(write_ ? "write " : "read ") + open_->path + " (offset " +
           std::to_string(offset_) + ", " + std::to_string(left_.size()) + " bytes)";
  }

  void End(Status status) {
    IoDone done = std::move(done_);
    BufferRef buffer = std::move(buffer_);
    done_ = nullptr;
    open_.reset();
    --context_.transfers_in_flight_;
    if (context_.metrics_ != nullptr) {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
      context_.metrics_->Count(write_, status.ok(), size_, took.count());
    }
    std::unique_ptr<Transfer> self(this);
    if (context_.idle_.size() < kIdleTransfers) context_.idle_.push_back(std::move(self));
    done(std::move(status));
  }

  DiskContext& context_;
  Uring::File file_;
  std::shared_ptr<const OpenFile> open_;
  uint64_t offset_ = 0;
  BufferRef buffer_;
  std::span<uint8_t> left_;
  bool write_ = false;
  size_t size_ = 0;  // of the whole
  std::chrono::steady_clock::time_point began_;
  IoDone done_;
};

// Reads the eventfd for ever: its completion is what ends a wait when another thread posts.
class DiskContext::WakeOp : public Op {
 public:
  explicit WakeOp(DiskContext& context) : context_(context) {}
  void Start() {
    context_.ring_->ReadStream(*this, nullptr, context_.wake_fd_.get(),
                               {reinterpret_cast<uint8_t*>(&count_), sizeof count_});
  }

 private:
  void Complete(int32_t result, bool) override {
    {
      std::lock_guard lock(context_.mutex_);
      context_.wake_sent_ = false;
    }
    if (result != -ECANCELED) Start();
  }

  DiskContext& context_;
  uint64_t count_ = 0;
};

Result<std::unique_ptr<DiskContext>> DiskContext::Create(const Options& options) {
  std::unique_ptr<DiskContext> context(new DiskContext);
  ASSIGN_OR_RETURN(context->pool_, BufferPool::Create(options.buffer_bytes));
  ASSIGN_OR_RETURN(context->ring_, Uring::Create(options.ring));
  context->files_ = options.files;
  context->metrics_ = options.metrics;
  context->wake_fd_.Reset(::eventfd(0, EFD_CLOEXEC));
  if (!context->wake_fd_.IsOpen()) return Status::FromErrno(errno, "create eventfd");
  context->registered_bytes_ = context->ring_->RegisterMemory(context->pool_->region());
  if (context->registered_bytes_ < context->pool_->region().size())
    LogInfo("buffer pool: {} of {} bytes registered with io_uring (raise ulimit -l for all)",
            context->registered_bytes_, context->pool_->region().size());
  context->wake_op_ = std::make_unique<WakeOp>(*context);
  context->wake_op_->Start();
  return context;
}

DiskContext::~DiskContext() { Drain(); }

void DiskContext::Drain() {
  if (ring_ != nullptr) ring_->Close();
  while (RunPosted()) {
  }
}

void DiskContext::Read(FileSlot file, uint64_t offset, BufferRef buffer, std::span<uint8_t> into,
                       IoDone done) {
  Start(file, offset, std::move(buffer), into, /*write=*/false, std::move(done));
}

void DiskContext::Write(FileSlot file, uint64_t offset, BufferRef buffer,
                        std::span<const uint8_t> from, IoDone done) {
  // One Transfer serves both ways; a write only ever reads through the span.
  std::span<uint8_t> bytes(const_cast<uint8_t*>(from.data()), from.size());
  Start(file, offset, std::move(buffer), bytes, /*write=*/true, std::move(done));
}

void DiskContext::Start(FileSlot file, uint64_t offset, BufferRef buffer, std::span<uint8_t> bytes,
                        bool write, IoDone done) {
  CHECK(offset % kDirectAlignment == 0 && bytes.size() % kDirectAlignment == 0 &&
            reinterpret_cast<uintptr_t>(bytes.data()) % kDirectAlignment == 0,
        "direct I/O not aligned");
  const KnownFile& known = Lookup(file);
  if (known.file == nullptr || bytes.empty() || ring_->closed()) {
    Status status;
    if (ring_->closed()) status = {Code::kCancelled, "disk transfer: shutting down"};
    if (known.file == nullptr)
      status = {Code::kIo, "disk transfer: no such slab slot (" + std::to_string(file) + ")"};
    Post([done = std::move(done), status] { done(status); });
    return;
  }
  Transfer* transfer = TakeIdle().release();  // owns itself until End
  transfer->Begin({file, known.registered, known.file->fd.get()}, known.file, offset,
                  std::move(buffer), bytes, write, std::move(done));
}

std::unique_ptr<DiskContext::Transfer> DiskContext::TakeIdle() {
  if (idle_.empty()) return std::make_unique<Transfer>(*this);
  std::unique_ptr<Transfer> transfer = std::move(idle_.back());
  idle_.pop_back();
  return transfer;
}

const DiskContext::KnownFile& DiskContext::Lookup(FileSlot file) {
  static const KnownFile kUnknown;
  if (file < known_files_.size() && known_files_[file].file != nullptr) return known_files_[file];
  std::shared_ptr<const OpenFile> open = files_ ? files_->Get(file) : nullptr;
  if (open == nullptr) return kUnknown;
  if (file >= known_files_.size()) known_files_.resize(file + 1);
  const bool registered = ring_->RegisterFile(file, open->fd.get()).ok();
  known_files_[file] = {std::move(open), registered};
  return known_files_[file];
}

void DiskContext::Post(std::function<void()> task) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
    // On our own thread RunOnce looks at the queue before it waits.
    if (!wake_sent_ && std::this_thread::get_id() != owner_) wake = wake_sent_ = true;
  }
  const uint64_t one = 1;
  if (wake) CHECK(::write(wake_fd_.get(), &one, sizeof one) == sizeof one, "wake up a reactor");
}

bool DiskContext::RunPosted() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (std::function<void()>& task : tasks) task();
  return !tasks.empty();
}

void DiskContext::Wait(std::chrono::nanoseconds timeout) {
  bool tasks_wait = false;
  {
    std::lock_guard lock(mutex_);
    tasks_wait = !posted_.empty();
  }
  ring_->Wait(tasks_wait ? std::chrono::nanoseconds(0) : timeout);
}

// Tasks run after the wait, not before it: what they do (an answer queued, a state changed) must
// reach the caller now and not at the next completion.
void DiskContext::Dispatch() {
  ring_->Reap();
  RunPosted();
}

}  // namespace sheaf::storage
