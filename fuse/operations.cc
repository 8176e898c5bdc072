#include "fuse/operations.h"

#include "common/log.h"
#include "fuse/attributes.h"
#include "fuse/errno.h"
#include "fuse/features.h"

namespace sheaf::fuse {
namespace {

constexpr unsigned kBackgroundMax = 128;       // read-ahead and asynchronous direct requests
constexpr unsigned kCongestionThreshold = 96;  // above it the kernel drops read-ahead

constexpr const char* kOperationNames[] = {
#define X(name, method) #name,
    SHEAF_FUSE_OPERATIONS(X)
#undef X
};

// The libfuse callback for one method: finds the mount, times the call, sends the error.
template <Operation kOperation, auto kMethod>
struct Callback;

template <Operation kOperation, typename... Args,
          Status (Operations::*kMethod)(fuse_req_t, Args...)>
struct Callback<kOperation, kMethod> {
  static void Call(fuse_req_t request, Args... args) {
    auto* operations = static_cast<Operations*>(fuse_req_userdata(request));
    const auto start = std::chrono::steady_clock::now();
    Status status = (operations->*kMethod)(request, args...);
    if (!status.ok()) fuse_reply_err(request, KernelErrno(status));
    operations->Record(kOperation, InodeOf(args...), status,
                       std::chrono::steady_clock::now() - start);
  }

 private:
  // The first inode number among the arguments.
  template <typename... Rest>
  static fuse_ino_t InodeOf(fuse_ino_t inode, Rest...) {
    return inode;
  }
  template <typename... Rest>
  static fuse_ino_t InodeOf(const char*, fuse_ino_t inode, Rest...) {
    return inode;
  }
};

void OnInit(void* userdata, fuse_conn_info* connection) {
  static_cast<Operations*>(userdata)->Init(connection);
}

void OnForget(fuse_req_t request, fuse_ino_t inode, uint64_t count) {
  static_cast<Operations*>(fuse_req_userdata(request))->Forget(inode, count);
  fuse_reply_none(request);
}

void OnForgetMulti(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  auto* operations = static_cast<Operations*>(fuse_req_userdata(request));
  for (size_t i = 0; i < count; ++i) operations->Forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

fuse_lowlevel_ops MakeTable() {
  fuse_lowlevel_ops table{};
  table.init = OnInit;
  table.forget = OnForget;
  table.forget_multi = OnForgetMulti;
#define X(name, method) table.name = Callback<Operation::k##method, &Operations::method>::Call;
  SHEAF_FUSE_OPERATIONS(X)
#undef X
  return table;
}

}  // namespace

const fuse_lowlevel_ops& Operations::Table() {
  static const fuse_lowlevel_ops table = MakeTable();
  return table;
}

Operations::Operations(Client* client, const MountOptions& options, Metrics* metrics,
                       const Clock* clock)
    : client_(client),
      options_(options),
      clock_(clock),
      credentials_(clock),
      directory_attrs_(std::chrono::duration_cast<Clock::Instant>(options.attr_timeout)) {
  AddMetrics(metrics);
}

Operations::~Operations() = default;

void Operations::AddMetrics(Metrics* metrics) {
  for (size_t i = 0; i < operation_metrics_.size(); ++i) {
    const Metrics::Labels labels{{"operation", kOperationNames[i]}};
    operation_metrics_[i] = {
        &metrics->AddCounter("sheaf_fuse_requests_total", "Requests from the kernel", labels),
        &metrics->AddCounter("sheaf_fuse_errors_total", "Requests answered by an error", labels),
        &metrics->AddLatency("sheaf_fuse_request_seconds", "Time to answer a request", labels)};
  }
  bytes_read_ = &metrics->AddCounter("sheaf_fuse_read_bytes_total", "Bytes read by the kernel");
  bytes_written_ =
      &metrics->AddCounter("sheaf_fuse_written_bytes_total", "Bytes written by the kernel");
  metrics->AddCallback("sheaf_fuse_inodes", "Inodes the kernel knows", {},
                       [this] { return static_cast<double>(inodes_.size()); });
  metrics->AddCallback("sheaf_fuse_open_files", "Open file handles", {},
                       [this] { return static_cast<double>(files_.size()); });
  metrics->AddCallback("sheaf_fuse_open_directories", "Open directory handles", {},
                       [this] { return static_cast<double>(directories_.size()); });
  metrics->AddCallback("sheaf_fuse_cached_credentials", "Processes whose groups are remembered", {},
                       [this] { return static_cast<double>(credentials_.size()); });
}

void Operations::Init(fuse_conn_info* connection) {
  connection->max_write = kRequestSizeMax;
  connection->max_read = kRequestSizeMax;  // as the mount option: libfuse wants both
  connection->max_background = kBackgroundMax;
  connection->congestion_threshold = kCongestionThreshold;

  const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
                          FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS |
                          FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
                          FUSE_CAP_AUTO_INVAL_DATA;
  // Splicing costs more than it saves where the data is not in a file already. The client library
  // holds writes back itself, under one bound for all files. Locks are the kernel's own.
  // Set-id bits that a write takes away come as a setattr.
  const unsigned unwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                            FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
                            FUSE_CAP_HANDLE_KILLPRIV;
  connection->want |= wanted & connection->capable;
  connection->want &= ~unwanted;
  if (on_init_) on_init_();
}

void Operations::CloseAll() {
  directories_.Clear();
  files_.Clear();
}

void Operations::Record(Operation operation, fuse_ino_t inode, const Status& status,
                        std::chrono::steady_clock::duration took) {
  const size_t index = static_cast<size_t>(operation);
  const OperationMetrics& metrics = operation_metrics_[index];
  metrics.count->Add();
  metrics.latency->Observe(std::chrono::duration<double>(took).count());
  if (status.ok()) return;
  metrics.errors->Add();
  if (IsFailure(status)) {
    LogWarn("{} inode {}: {}", kOperationNames[index], inode, status.ToString());
  } else {
    LogDebug("{} inode {}: {}", kOperationNames[index], inode, status.ToString());
  }
}

Result<std::optional<FileAttr>> Operations::Stamp(InodeId inode) {
  std::optional<FileAttr> none;
  if (!inodes_.HasWriters(inode)) return none;
  auto stamped = client_->StampTimes(inode);
  if (stamped.ok() && stamped->has_value()) NoteChange();
  return stamped;
}

Result<FileAttr> Operations::Stamped(FileAttr attr) {
  if (!attr.IsRegular()) return attr;
  ASSIGN_OR_RETURN(const auto stamped, Stamp(attr.inode));
  return stamped.value_or(std::move(attr));
}

Result<FileAttr> Operations::Current(FileAttr attr, uint64_t mark) {
  while (inodes_.WriterToldSince(attr.inode, mark)) {
    mark = inodes_.WriterMark();
    ASSIGN_OR_RETURN(attr, client_->GetAttr(Credentials(), attr.inode));
  }
  return attr;
}

fuse_entry_param Operations::EntryOf(const FileAttr& attr) const {
  fuse_entry_param entry{};
  entry.ino = attr.inode.value();
  entry.generation = InodeTable::kGeneration;
  entry.attr = ToStat(attr);
  entry.attr_timeout = options_.attr_timeout.count();
  entry.entry_timeout = options_.entry_timeout.count();
  return entry;
}

void Operations::ReplyAttr(fuse_req_t request, const FileAttr& attr) {
  const struct stat answer = ToStat(attr);
  directory_attrs_.Seen(attr);
  inodes_.SetSentVersion(attr.inode, attr.version);
  fuse_reply_attr(request, &answer, options_.attr_timeout.count());
}

Status Operations::ReplyEntry(fuse_req_t request, Result<FileAttr> attr) {
  if (!attr.ok()) return attr.status();
  ASSIGN_OR_RETURN(const FileAttr stamped, Stamped(std::move(attr).value()));
  const fuse_entry_param entry = EntryOf(stamped);
  inodes_.AddLookup(stamped.inode);
  directory_attrs_.Seen(stamped);
  inodes_.SetSentVersion(stamped.inode, stamped.version);
  // The kernel gave up waiting: it holds no reference, so neither do we.
  if (fuse_reply_entry(request, &entry) == -ENOENT) inodes_.Forget(stamped.inode, 1);
  return Status::Ok();
}

}  // namespace sheaf::fuse
