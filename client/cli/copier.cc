#include "client/cli/copier.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "common/buffer.h"

namespace sheaf::cli {
namespace {

bool IsZero(std::span<const uint8_t> bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Makes it, over whatever that is not a directory has the name.
template <typename Make>
Status Replacing(Tree& tree, const Tree::Directory& parent, const std::string& name, Make make) {
  const Status status = make();
  if (status.code() != Code::kExists) return status;
  RETURN_IF_ERROR(tree.Remove(parent, name));
  return make();
}

}  // namespace

// One file under way. Opened by whoever takes its first piece; finished by whoever ends its last.
struct Copier::FileJob {
  Tree::Directory from, to;
  Tree::Item item;
  std::string name;

  std::mutex opening;
  bool opened = false;
  Status open_status;
  std::unique_ptr<Tree::OpenFile> source, target;

  std::atomic<uint64_t> pieces_left{0};
  std::atomic<bool> failed{false};
};

Status Copier::BecameShorter(const FileJob& job, uint64_t size) {
  return {Code::kIo, job.from.path + "/" + job.item.name +
                         ": became shorter while it was copied (" + std::to_string(size) + " of " +
                         std::to_string(job.item.attr.size) + " bytes)"};
}

Copier::Copier(Tree& from, Tree& to, int threads, std::function<void(const std::string&)> on_failure)
    : from_(from), to_(to), threads_(threads), on_failure_(std::move(on_failure)) {}

Copier::~Copier() = default;

void Copier::Fail(const Status& status) {
  ++progress_.failures;
  std::lock_guard lock(reporting_);
  on_failure_(status.message());
}

void Copier::Run(const Tree::Directory& from, const Tree::Item& item, const Tree::Directory& to,
                 const std::string& name) {
  for (int i = 0; i < threads_; ++i) workers_.emplace_back([this] { Work(); });
  CopyItem(from, item, to, name);
  PushBundle();
  queue_.Lock()->closed = true;
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();

  for (const LinkJob& link : links_) {
    const Status status = Replacing(to_, link.parent, link.name, [&] {
      return to_.MakeLink(link.first_parent, link.first_name, link.parent, link.name);
    });
    if (!status.ok()) Fail(status);
    ++progress_.files_done;
  }
  // Innermost first: setting what is inside would move the times of what is around.
  for (auto each = directories_.rbegin(); each != directories_.rend(); ++each) {
    const Status status = to_.SetAttributes(each->parent, each->name, each->attr);
    if (!status.ok()) Fail(status);
  }
}

void Copier::CopyItem(const Tree::Directory& from, const Tree::Item& item,
                      const Tree::Directory& to, const std::string& name) {
  if (S_ISDIR(item.attr.mode)) return CopyDirectory(from, item, to, name);
  ++progress_.files_found;
  if (item.attr.nlink > 1) {
    const auto key = std::make_pair(item.device, item.attr.inode.value());
    const auto [first, is_new] = linked_.try_emplace(key, to, name);
    if (!is_new) {
      links_.push_back({first->second.first, first->second.second, to, name});
      return;
    }
  }
  if (S_ISREG(item.attr.mode)) return QueueFile(from, item, to, name);
  const Status status = CopyOther(from, item, to, name);
  if (!status.ok()) Fail(status);
  ++progress_.files_done;
}

void Copier::CopyDirectory(const Tree::Directory& from, const Tree::Item& item,
                           const Tree::Directory& to, const std::string& name) {
  const auto source = from_.Enter(from, item);
  auto items = source.ok() ? from_.List(*source) : Result<std::vector<Tree::Item>>(source.status());
  if (!items.ok()) return Fail(items.status());
  // The root of a file system is there already.
  const Status made = name.empty() ? Status::Ok() : to_.MakeDirectory(to, name);
  if (!made.ok() && made.code() != Code::kExists) return Fail(made);
  const auto found = to_.Find(to, name);
  if (!found.ok()) return Fail(found.status());
  if (!S_ISDIR(found->attr.mode)) {
    return Fail({Code::kNotDirectory, to.path + "/" + name + ": is there and is not a directory"});
  }
  const auto target = to_.Enter(to, *found);
  if (!target.ok()) return Fail(target.status());
  ++progress_.directories;
  // One that was there gets the attributes too, as with cp -a; a root keeps its own.
  if (!name.empty()) directories_.push_back({to, name, item.attr});
  for (const Tree::Item& each : *items) CopyItem(*source, each, *target, each.name);
}

void Copier::QueueFile(const Tree::Directory& from, const Tree::Item& item,
                       const Tree::Directory& to, const std::string& name) {
  auto job = std::make_shared<FileJob>();
  job->from = from;
  job->to = to;
  job->item = item;
  job->name = name;
  const uint64_t pieces = std::max<uint64_t>(1, (item.attr.size + kPiece - 1) / kPiece);
  job->pieces_left = pieces;
  progress_.bytes_found += item.attr.size;
  if (to_.WritesWholeFiles() && item.attr.size <= kSmallFile) return AddToBundle(std::move(job));
  for (uint64_t i = 0; i < pieces; ++i) {
    const uint64_t offset = i * kPiece;
    Push({job, nullptr, offset, std::min(kPiece, item.attr.size - offset)});
  }
}

void Copier::AddToBundle(std::shared_ptr<FileJob> job) {
  const uint64_t size = job->item.attr.size;
  if (bundle_ != nullptr &&
      (bundle_->jobs.size() == kBundleFiles || bundle_->bytes + size > kBundleBytes)) {
    PushBundle();
  }
  if (bundle_ == nullptr) bundle_ = std::make_shared<Bundle>();
  bundle_->bytes += size;
  bundle_->jobs.push_back(std::move(job));
}

void Copier::PushBundle() {
  if (bundle_ != nullptr) Push({nullptr, std::exchange(bundle_, nullptr), 0, 0});
}

Status Copier::CopyOther(const Tree::Directory& from, const Tree::Item& item,
                         const Tree::Directory& to, const std::string& name) {
  std::string target;
  if (S_ISLNK(item.attr.mode)) {
    ASSIGN_OR_RETURN(target, from_.ReadLink(from, item));
  }
  RETURN_IF_ERROR(Replacing(to_, to, name, [&] {
    return S_ISLNK(item.attr.mode) ? to_.MakeSymlink(to, name, target)
                                   : to_.MakeNode(to, name, item.attr);
  }));
  return to_.SetAttributes(to, name, item.attr);
}

void Copier::Push(Piece piece) {
  auto queue = queue_.Lock();
  queue.Wait(changed_, [&] { return queue->pieces.size() < kMaxQueued; });
  queue->pieces.push_back(std::move(piece));
  changed_.notify_one();  // only workers can be waiting: the walker is here
}

void Copier::Work() {
  AlignedBuffer buffer(kBlock);
  for (;;) {
    Piece piece;
    {
      auto queue = queue_.Lock();
      queue.Wait(changed_, [&] { return queue->closed || !queue->pieces.empty(); });
      if (queue->pieces.empty()) return;
      piece = std::move(queue->pieces.front());
      queue->pieces.pop_front();
      // The walker waits for room only when the queue was full.
      if (queue->pieces.size() + 1 == kMaxQueued) changed_.notify_all();
    }
    if (piece.bundle != nullptr) {
      CopyBundle(*piece.bundle, buffer.span());
    } else {
      CopyOnePiece(piece, buffer.span());
    }
  }
}

void Copier::CopyOnePiece(const Piece& piece, std::span<uint8_t> buffer) {
  FileJob& job = *piece.job;
  const Status status = CopyPiece(piece, buffer);
  if (!status.ok() && !job.failed.exchange(true)) Fail(status);
  if (job.pieces_left.fetch_sub(1) == 1) FinishFile(job);
}

// A name that is taken is gone over as any other file: opened, emptied, written.
void Copier::CopyBundle(Bundle& bundle, std::span<uint8_t> buffer) {
  std::vector<Tree::WholeFile> files;
  std::vector<std::shared_ptr<FileJob>> jobs;
  size_t used = 0;
  for (const auto& job : bundle.jobs) {
    const auto into = buffer.subspan(used, job->item.attr.size);
    if (const Status read = ReadWhole(*job, into); !read.ok()) {
      Fail(read);
      ++progress_.files_done;
      continue;
    }
    used += into.size();
    files.push_back({job->to, job->name, job->item.attr, into});
    jobs.push_back(job);
  }
  const std::vector<Status> written = to_.WriteFiles(files);
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (written[i].code() == Code::kExists) continue;
    if (!written[i].ok()) Fail(written[i]);
    if (written[i].ok()) progress_.bytes_done += jobs[i]->item.attr.size;
    ++progress_.files_done;
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (written[i].code() != Code::kExists) continue;
    CopyOnePiece({jobs[i], nullptr, 0, jobs[i]->item.attr.size}, buffer);
  }
}

Status Copier::ReadWhole(FileJob& job, std::span<uint8_t> into) {
  ASSIGN_OR_RETURN(const auto source, from_.Open(job.from, job.item));
  ASSIGN_OR_RETURN(const size_t got, source->Read(0, into));
  return got == into.size() ? Status::Ok() : BecameShorter(job, got);
}

Status Copier::OpenJob(FileJob& job) {
  std::lock_guard lock(job.opening);
  if (job.opened) return job.open_status;
  job.opened = true;
  job.open_status = [&]() -> Status {
    ASSIGN_OR_RETURN(job.source, from_.Open(job.from, job.item));
    // Not through a symlink that is there, and not into a device.
    const auto there = to_.Find(job.to, job.name);
    if (there.ok() && !S_ISREG(there->attr.mode) && !S_ISDIR(there->attr.mode)) {
      RETURN_IF_ERROR(to_.Remove(job.to, job.name));
    }
    ASSIGN_OR_RETURN(job.target, to_.Create(job.to, job.name));
    return Status::Ok();
  }();
  return job.open_status;
}

Status Copier::CopyPiece(const Piece& piece, std::span<uint8_t> buffer) {
  FileJob& job = *piece.job;
  if (job.failed) return Status::Ok();
  RETURN_IF_ERROR(OpenJob(job));
  for (uint64_t done = 0; done < piece.length && !job.failed;) {
    const uint64_t offset = piece.offset + done;
    const size_t want = std::min<uint64_t>(buffer.size(), piece.length - done);
    ASSIGN_OR_RETURN(const size_t got, job.source->Read(offset, buffer.first(want)));
    if (got != want) {
      return BecameShorter(job, offset + got);
    }
    const auto block = buffer.first(got);
    if (!IsZero(block)) RETURN_IF_ERROR(job.target->Write(offset, block));
    done += got;
    progress_.bytes_done += got;
  }
  return Status::Ok();
}

void Copier::FinishFile(FileJob& job) {
  const Status status = [&]() -> Status {
    if (job.target == nullptr || job.failed) return Status::Ok();  // reported already
    RETURN_IF_ERROR(job.target->SetSize(job.item.attr.size));
    RETURN_IF_ERROR(job.target->Close());
    return to_.SetAttributes(job.to, job.name, job.item.attr);
  }();
  if (!status.ok()) Fail(status);
  job.source.reset();
  job.target.reset();
  ++progress_.files_done;
}

}  // namespace sheaf::cli
