#include <fcntl.h>

#include "common/buffer.h"
#include "fuse/operations.h"

// Requests about open files.

namespace sheaf::fuse {
namespace {

bool OpensForWriting(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

// Where a read's bytes pass through: one buffer a serving thread, aligned, kept for its next read.
std::span<uint8_t> ReadBuffer(size_t size) {
  thread_local AlignedBuffer buffer;
  if (buffer.size() < size) buffer = AlignedBuffer(size);
  return buffer.span().first(size);
}

}  // namespace

std::shared_ptr<FileHandle> Operations::AddHandle(std::shared_ptr<File> file, const FileAttr& attr,
                                                  fuse_file_info* info) {
  auto handle = std::make_shared<FileHandle>();
  handle->inode = attr.inode;
  handle->file = std::move(file);
  handle->writable = OpensForWriting(info->flags);
  if (handle->writable) inodes_.AddWriter(attr.inode, handle);

  // Close-to-open: what another mount closed before this open is seen now, its length too. Pages
  // cached at an earlier open stay only if the file is still the same.
  if (!inodes_.HasSent(attr.inode, attr.version) && invalidate_attributes_) {
    invalidate_attributes_(attr.inode);
  }
  const bool same = inodes_.KeepsCache(attr.inode, ContentVersion::Of(attr));
  // Appends bypass the page cache, too: another mount may have made the file longer than the kernel
  // knows, and it would keep their bytes in the wrong place. After them it asks for attributes
  // again, and finds by size and time what it must drop.
  info->direct_io =
      (info->flags & O_DIRECT) != 0 || (handle->writable && (info->flags & O_APPEND) != 0);
  info->keep_cache = same && !info->direct_io;
  info->noflush = !handle->writable;  // nothing to write back at close
#ifdef SHEAF_FUSE_PARALLEL_DIRECT_WRITES
  info->parallel_direct_writes = info->direct_io;
#endif
  info->fh = files_.Add(handle);
  return handle;
}

Status Operations::CloseHandle(uint64_t number) {
  auto handle = files_.Remove(number);
  if (handle == nullptr) return {Code::kBadHandle, "handle " + std::to_string(number)};
  Status status = handle->file->Close();
  if (!handle->writable) return status;
  // Only now: until then the file's length and times may be known here alone.
  inodes_.RemoveWriter(handle->inode, handle.get());
  NoteChange();
  return status;
}

Result<std::shared_ptr<FileHandle>> Operations::FindFile(const fuse_file_info* info) const {
  auto handle = files_.Find(info->fh);
  if (handle == nullptr) {
    return Status(Code::kBadHandle, "handle " + std::to_string(info->fh) + ": not open");
  }
  return handle;
}

Status Operations::Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  const Credentials who = credentials_.Of(request);
  // Of a file that is being written here, others' opens see final times.
  RETURN_IF_ERROR(Stamp(InodeId(inode)).status());
  ASSIGN_OR_RETURN(auto file, client_->Open(who, InodeId(inode), info->flags));
  if (info->flags & O_TRUNC) NoteChange();
  const FileAttr attr = file->OpenedAttr();
  AddHandle(std::move(file), attr, info);
  // The kernel gave up waiting: it will not release what it never got.
  if (fuse_reply_open(request, info) == -ENOENT) (void)CloseHandle(info->fh);
  return Status::Ok();
}

Status Operations::Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
                          fuse_file_info* info) {
  const Credentials who = credentials_.Of(request);
  const uint64_t xattr_changes = xattr_changes_.load();
  const DirectoryAttrs::Before before = directory_attrs_.Begin(clock_->Now());
  auto result = client_->Create(who, InodeId(parent), name, mode, info->flags);
  NoteDirectoryChange(result.ok() ? result->parent : std::nullopt, before);
  if (!result.ok()) return result.status();
  Client::Created& created = *result;
  ASSIGN_OR_RETURN(const FileAttr attr, Stamped(created.attr));
  inodes_.AddLookup(attr.inode);
  inodes_.SetSentVersion(attr.inode, attr.version);
  // A new file has no attributes: spares a question before its first write.
  if (created.created && xattr_changes_.load() == xattr_changes) NoteNoCapabilities(attr.inode);
  AddHandle(std::move(created.file), attr, info);
  const fuse_entry_param entry = EntryOf(attr);
  if (fuse_reply_create(request, &entry, info) == -ENOENT) {
    (void)CloseHandle(info->fh);
    inodes_.Forget(attr.inode, 1);
  }
  return Status::Ok();
}

Status Operations::Read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                        fuse_file_info* info) {
  ASSIGN_OR_RETURN(const auto handle, FindFile(info));
  const std::span<uint8_t> buffer = ReadBuffer(size);
  ASSIGN_OR_RETURN(const size_t read, handle->file->Read(static_cast<uint64_t>(offset), buffer));
  bytes_read_->Add(read);
  fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), read);
  return Status::Ok();
}

Status Operations::WriteAt(FileHandle& handle, std::span<const uint8_t> data, uint64_t offset) {
  ASSIGN_OR_RETURN(const size_t written, handle.file->Write(offset, data));
  if (written == data.size()) return Status::Ok();
  return {Code::kIo, "write " + std::to_string(data.size()) + " bytes at " +
                         std::to_string(offset) + ": only " + std::to_string(written) + " taken"};
}

Status Operations::Write(fuse_req_t request, fuse_ino_t, const char* data, size_t size,
                         off_t offset, fuse_file_info* info) {
  ASSIGN_OR_RETURN(const auto handle, FindFile(info));
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(data), size);
  // Pages of a shared mapping that the kernel writes back belong where they are.
  const bool append = (info->flags & O_APPEND) != 0 && !info->writepage;
  Status status = append ? handle->file->Append(bytes).status()
                         : WriteAt(*handle, bytes, static_cast<uint64_t>(offset));
  NoteChange();
  if (!status.ok()) return status;
  bytes_written_->Add(size);
  fuse_reply_write(request, size);
  return Status::Ok();
}

Status Operations::Flush(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  ASSIGN_OR_RETURN(const auto handle, FindFile(info));
  Status flushed = handle->file->Flush();
  if (handle->writable) inodes_.NoteWriterTold(handle->inode);
  NoteChange();
  if (!flushed.ok()) return flushed;
  fuse_reply_err(request, 0);
  return Status::Ok();
}

Status Operations::Release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  Status status = CloseHandle(info->fh);
  if (status.ok()) fuse_reply_err(request, 0);
  return status;
}

Status Operations::Fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info* info) {
  ASSIGN_OR_RETURN(const auto handle, FindFile(info));
  // Whatever handle wrote: fsync(2) is about the file, not the descriptor.
  Status synced = handle->file->Sync();
  NoteChange();
  if (!synced.ok()) return synced;
  fuse_reply_err(request, 0);
  return Status::Ok();
}

}  // namespace sheaf::fuse
