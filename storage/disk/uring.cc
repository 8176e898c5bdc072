#include "storage/disk/uring.h"

#include <liburing.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sheaf::storage {
namespace {

constexpr unsigned kCompletionEntries = 8192;
constexpr unsigned kReapBatch = 128;
constexpr size_t kMinRegistered = size_t{1} << 20;
constexpr size_t kMaxRegistered = size_t{1} << 30;  // the kernel's limit for one buffer

struct Mode {
  const char* name;
  unsigned flags;
};

// Best first. DEFER_TASKRUN runs completion work only when we ask, so one system call collects a
// batch of it; COOP_TASKRUN at least saves the interrupt of the running thread.
constexpr Mode kModes[] = {
    {"single issuer, deferred",
     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL},
    {"cooperative", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL},
    {"plain", 0},
};

Status SetupError(int err) {
  return {Code::kUnavailable, std::string("set up io_uring: ") + std::strerror(err) +
                                  " (is it allowed? see sysctl kernel.io_uring_disabled, the "
                                  "container's seccomp profile and ulimit -l)"};
}

}  // namespace

Op::~Op() { CHECK(!in_flight_, "an operation in flight was destroyed"); }

Uring::Uring() : ring_(std::make_unique<io_uring>()) {}

Result<std::unique_ptr<Uring>> Uring::Create(const Options& options) {
  std::unique_ptr<Uring> uring(new Uring);
  RETURN_IF_ERROR(uring->Setup(options));
  return uring;
}

Status Uring::Setup(const Options& options) {
  int failed = 0;
  for (const Mode& mode : kModes) {
    if (options.plain && mode.flags != 0) continue;
    io_uring_params params{};
    params.flags = mode.flags | IORING_SETUP_CQSIZE;
    params.cq_entries = kCompletionEntries;
    failed = -io_uring_queue_init_params(options.entries, ring_.get(), &params);
    if (failed == 0) {
      mode_ = mode.name;
      break;
    }
    if (failed != EINVAL) break;  // only EINVAL means "this kernel does not know the flag"
  }
  if (failed != 0) return SetupError(failed);
  exists_ = true;
  // Without the table transfers name the descriptor: slower, not wrong.
  if (io_uring_register_files_sparse(ring_.get(), options.file_slots) == 0)
    file_slots_ = options.file_slots;
  return Status::Ok();
}

Uring::~Uring() { Close(); }

void Uring::Close() {
  if (!exists_) return;
  CheckOwner();
  Drain();
  // The kernel takes a ring apart some time after its end, and would hold the files until then: a
  // disk could not be unmounted right after its server has stopped.
  if (file_slots_ > 0) io_uring_unregister_files(ring_.get());
  io_uring_queue_exit(ring_.get());
  exists_ = false;
}

void Uring::CheckOwner() const {
  CHECK(owner_ == std::this_thread::get_id(), "io_uring used off its thread");
}

void Uring::Drain() {
  stopping_ = true;
  while (in_flight_ > 0) {
    io_uring_sqe* entry = Prepare();
    io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY);
    io_uring_sqe_set_data(entry, nullptr);
    Run(std::chrono::milliseconds(10));
  }
}

size_t Uring::RegisterMemory(std::span<uint8_t> memory) {
  CheckOwner();
  CHECK(registered_memory_.empty(), "memory registered twice");
  size_t length = std::min(memory.size(), kMaxRegistered);
  for (; length >= kMinRegistered; length = length / 2 / 4096 * 4096) {
    iovec piece{memory.data(), length};
    int result = io_uring_register_buffers(ring_.get(), &piece, 1);
    if (result == 0) {
      registered_memory_ = memory.first(length);
      return length;
    }
    if (result != -ENOMEM) break;
  }
  return 0;
}

Status Uring::RegisterFile(FileSlot slot, int fd) {
  CheckOwner();
  if (slot >= file_slots_)
    return {Code::kTooBig, "register file: no slot (slot " + std::to_string(slot) + " of " +
                               std::to_string(file_slots_) + ")"};
  int result = io_uring_register_files_update(ring_.get(), slot, &fd, 1);
  if (result < 0) return Status::FromErrno(-result, "register file " + std::to_string(slot));
  return Status::Ok();
}

io_uring_sqe* Uring::Prepare() {
  CheckOwner();
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  while (entry == nullptr) {
    int result = io_uring_submit(ring_.get());
    // Both mean "reap first": completions stay queued in the kernel until Run.
    CHECK(result >= 0 || result == -EBUSY || result == -EAGAIN || result == -EINTR,
          std::string("submit: ") + std::strerror(-result));
    entry = io_uring_get_sqe(ring_.get());
  }
  return entry;
}

void Uring::Launch(io_uring_sqe* entry, Op& op, std::shared_ptr<void> pin) {
  CHECK(!op.in_flight_, "operation started twice");
  op.in_flight_ = true;
  op.pin_ = std::move(pin);
  ++in_flight_;
  if (stopping_) {
    io_uring_prep_nop(entry);
    io_uring_sqe_set_data(entry, nullptr);
    refused_.push_back(&op);
    return;
  }
  io_uring_sqe_set_data(entry, &op);
}

void Uring::Accept(Op& op, std::shared_ptr<void> pin, int listen_fd) {
  io_uring_sqe* entry = Prepare();
  io_uring_prep_multishot_accept(entry, listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  Launch(entry, op, std::move(pin));
}

void Uring::Receive(Op& op, std::shared_ptr<void> pin, int fd, std::span<uint8_t> into, bool all) {
  io_uring_sqe* entry = Prepare();
  io_uring_prep_recv(entry, fd, into.data(), into.size(), all ? MSG_WAITALL : 0);
  Launch(entry, op, std::move(pin));
}

void Uring::ReceiveMessage(Op& op, std::shared_ptr<void> pin, int fd, msghdr& message) {
  io_uring_sqe* entry = Prepare();
  io_uring_prep_recvmsg(entry, fd, &message, 0);
  Launch(entry, op, std::move(pin));
}

void Uring::Send(Op& op, std::shared_ptr<void> pin, int fd, const msghdr& message) {
  io_uring_sqe* entry = Prepare();
  io_uring_prep_sendmsg(entry, fd, &message, MSG_NOSIGNAL | MSG_WAITALL);
  Launch(entry, op, std::move(pin));
}

void Uring::ReadStream(Op& op, std::shared_ptr<void> pin, int fd, std::span<uint8_t> into) {
  io_uring_sqe* entry = Prepare();
  io_uring_prep_read(entry, fd, into.data(), into.size(), 0);
  Launch(entry, op, std::move(pin));
}

void Uring::CancelAll(int fd) {
  io_uring_sqe* entry = Prepare();
  io_uring_prep_cancel_fd(entry, fd, IORING_ASYNC_CANCEL_ALL);
  io_uring_sqe_set_data(entry, nullptr);
}

bool Uring::IsRegistered(const uint8_t* at, size_t length) const {
  const uint8_t* begin = registered_memory_.data();
  return at >= begin && at + length <= begin + registered_memory_.size();
}

void Uring::ReadFile(Op& op, const File& file, uint64_t offset, std::span<uint8_t> into) {
  io_uring_sqe* entry = Prepare();
  int fd = file.registered ? static_cast<int>(file.slot) : file.fd;
  if (IsRegistered(into.data(), into.size())) {
    io_uring_prep_read_fixed(entry, fd, into.data(), into.size(), offset, 0);
  } else {
    io_uring_prep_read(entry, fd, into.data(), into.size(), offset);
  }
  if (file.registered) io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE);
  Launch(entry, op, nullptr);
}

void Uring::WriteFile(Op& op, const File& file, uint64_t offset, std::span<const uint8_t> from) {
  io_uring_sqe* entry = Prepare();
  int fd = file.registered ? static_cast<int>(file.slot) : file.fd;
  if (IsRegistered(from.data(), from.size())) {
    io_uring_prep_write_fixed(entry, fd, from.data(), from.size(), offset, 0);
  } else {
    io_uring_prep_write(entry, fd, from.data(), from.size(), offset);
  }
  if (file.registered) io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE);
  Launch(entry, op, nullptr);
}

void Uring::Wait(std::chrono::nanoseconds timeout) {
  CheckOwner();
  int result = 0;
  if (timeout.count() <= 0 || !refused_.empty() || io_uring_cq_ready(ring_.get()) > 0) {
    result = io_uring_submit_and_get_events(ring_.get());
  } else {
    __kernel_timespec wait{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
    io_uring_cqe* first = nullptr;
    result = io_uring_submit_and_wait_timeout(ring_.get(), &first, 1, &wait, nullptr);
  }
  CHECK(
      result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN,
      std::string("wait for io_uring: ") + std::strerror(-result));
}

size_t Uring::Reap() {
  CheckOwner();
  struct Completed {
    Op* op;
    int32_t result;
    bool more;
  };
  size_t count = 0;
  // Bounded by one queue's worth, so that a caller with other work gets its turn.
  while (count < kCompletionEntries) {
    io_uring_cqe* entries[kReapBatch];
    Completed completed[kReapBatch];
    unsigned found = io_uring_peek_batch_cqe(ring_.get(), entries, kReapBatch);
    for (unsigned i = 0; i < found; ++i)
      completed[i] = {static_cast<Op*>(io_uring_cqe_get_data(entries[i])), entries[i]->res,
                      (entries[i]->flags & IORING_CQE_F_MORE) != 0};
    // Handed back before the callbacks, which may take long and start more.
    io_uring_cq_advance(ring_.get(), found);
    for (unsigned i = 0; i < found; ++i)
      if (completed[i].op != nullptr)
        Finish(*completed[i].op, completed[i].result, completed[i].more);
    count += found;
    if (found < kReapBatch) break;
  }
  for (Op* op : std::exchange(refused_, {})) Finish(*op, -ECANCELED, false);
  return count;
}

void Uring::Finish(Op& op, int32_t result, bool more) {
  std::shared_ptr<void> pin;  // goes after Complete, perhaps with the Op
  if (!more) {
    op.in_flight_ = false;
    pin = std::move(op.pin_);
    --in_flight_;
  }
  op.Complete(result, more);
}

}  // namespace sheaf::storage
