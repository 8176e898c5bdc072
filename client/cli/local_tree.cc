#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "client/cli/tree.h"
#include "common/fd.h"

namespace sheaf::cli {
namespace {

constexpr int64_t kNanos = 1'000'000'000;

std::string Join(const Tree::Directory& directory, const std::string& name) {
  if (name.empty()) return directory.path;
  return directory.path == "/" ? "/" + name : directory.path + "/" + name;
}

int64_t ToNanos(const timespec& time) { return time.tv_sec * kNanos + time.tv_nsec; }

timespec FromNanos(int64_t nanos) {
  // The nanosecond part is never negative, also before 1970.
  const int64_t part = ((nanos % kNanos) + kNanos) % kNanos;
  return {(nanos - part) / kNanos, part};
}

Tree::Item ToItem(const std::string& name, const struct stat& from) {
  Tree::Item item{name, {}, from.st_dev};
  item.attr.inode = InodeId(from.st_ino);
  item.attr.mode = from.st_mode;
  item.attr.nlink = static_cast<uint32_t>(from.st_nlink);
  item.attr.uid = from.st_uid;
  item.attr.gid = from.st_gid;
  item.attr.rdev = from.st_rdev;
  item.attr.size = static_cast<uint64_t>(from.st_size);
  item.attr.atime_ns = ToNanos(from.st_atim);
  item.attr.mtime_ns = ToNanos(from.st_mtim);
  return item;
}

Status FromResult(int result, const std::string& what) {
  return result == 0 ? Status::Ok() : Status::FromErrno(errno, what);
}

class LocalFile final : public Tree::OpenFile {
 public:
  LocalFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) override {
    size_t got = 0;
    while (got < into.size()) {
      const ssize_t step = pread(fd_.get(), into.data() + got, into.size() - got,
                                 static_cast<off_t>(offset + got));
      if (step < 0 && errno == EINTR) continue;
      if (step < 0) return Status::FromErrno(errno, "read " + path_);
      if (step == 0) break;
      got += static_cast<size_t>(step);
    }
    return got;
  }

  Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    while (!from.empty()) {
      const ssize_t step = pwrite(fd_.get(), from.data(), from.size(), static_cast<off_t>(offset));
      if (step < 0 && errno == EINTR) continue;
      if (step < 0) return Status::FromErrno(errno, "write " + path_);
      from = from.subspan(static_cast<size_t>(step));
      offset += static_cast<uint64_t>(step);
    }
    return Status::Ok();
  }

  Status SetSize(uint64_t size) override {
    return FromResult(ftruncate(fd_.get(), static_cast<off_t>(size)), "set the size of " + path_);
  }
  Status Close() override { return Status::Ok(); }

 private:
  UniqueFd fd_;
  const std::string path_;
};

class LocalTree final : public Tree {
 public:
  Result<Location> Locate(const std::string& path) override {
    const std::filesystem::path full(path);
    if (full == full.root_path()) return Location{{"/", {}}, ""};
    return Location{{full.parent_path().string(), {}}, full.filename().string()};
  }

  Result<Directory> OpenDirectory(const std::string& path) override {
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) return Status::FromErrno(errno, path);
    if (!S_ISDIR(found.st_mode)) return Status(Code::kNotDirectory, path + ": not a directory");
    return Directory{path, InodeId(found.st_ino)};
  }

  Result<Item> Find(const Directory& parent, const std::string& name) override {
    const std::string path = Join(parent, name);
    struct stat found {};
    if (lstat(path.c_str(), &found) != 0) return Status::FromErrno(errno, path);
    return ToItem(name, found);
  }

  Result<Directory> Enter(const Directory& parent, const Item& item) override {
    return Directory{Join(parent, item.name), item.attr.inode};
  }

  Result<std::vector<Item>> List(const Directory& directory) override {
    struct CloseDir {
      void operator()(DIR* dir) const { closedir(dir); }
    };
    const std::unique_ptr<DIR, CloseDir> dir(opendir(directory.path.c_str()));
    if (dir == nullptr) return Status::FromErrno(errno, "list " + directory.path);
    std::vector<Item> items;
    while (const dirent* entry = readdir(dir.get())) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct stat found {};
      if (fstatat(dirfd(dir.get()), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;  // removed meanwhile
        return Status::FromErrno(errno, Join(directory, name));
      }
      items.push_back(ToItem(name, found));
    }
    return items;
  }

  Result<std::string> ReadLink(const Directory& parent, const Item& item) override {
    std::error_code failed;
    const auto target = std::filesystem::read_symlink(Join(parent, item.name), failed);
    if (failed) return Status::FromErrno(failed.value(), "readlink " + Join(parent, item.name));
    return target.string();
  }

  Result<std::unique_ptr<OpenFile>> Open(const Directory& parent, const Item& item) override {
    return OpenAt(Join(parent, item.name), O_RDONLY | O_NOFOLLOW);
  }

  Result<std::unique_ptr<OpenFile>> Create(const Directory& parent,
                                           const std::string& name) override {
    return OpenAt(Join(parent, name), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  }

  Status MakeDirectory(const Directory& parent, const std::string& name) override {
    const std::string path = Join(parent, name);
    return FromResult(mkdir(path.c_str(), 0700), "create " + path);
  }

  Status MakeSymlink(const Directory& parent, const std::string& name,
                     const std::string& target) override {
    const std::string path = Join(parent, name);
    return FromResult(symlink(target.c_str(), path.c_str()), "create " + path);
  }

  Status MakeNode(const Directory& parent, const std::string& name, const FileAttr& attr) override {
    const std::string path = Join(parent, name);
    return FromResult(mknod(path.c_str(), (attr.mode & S_IFMT) | 0600, attr.rdev),
                      "create " + path);
  }

  Status MakeLink(const Directory& from_parent, const std::string& from_name,
                  const Directory& parent, const std::string& name) override {
    const std::string from = Join(from_parent, from_name), to = Join(parent, name);
    return FromResult(link(from.c_str(), to.c_str()), "link " + to);
  }

  Status Remove(const Directory& parent, const std::string& name) override {
    const std::string path = Join(parent, name);
    return FromResult(unlink(path.c_str()), "remove " + path);
  }

  // Owner before mode: a change of owner takes set-user-id away. Times last: all else moves them.
  Status SetAttributes(const Directory& parent, const std::string& name,
                       const FileAttr& attr) override {
    const std::string path = Join(parent, name);
    const std::string what = "set the attributes of " + path;
    if (geteuid() == 0 && lchown(path.c_str(), attr.uid, attr.gid) != 0) {
      return Status::FromErrno(errno, what);
    }
    if (!S_ISLNK(attr.mode) && chmod(path.c_str(), attr.mode & 07777) != 0) {
      return Status::FromErrno(errno, what);
    }
    const timespec times[] = {FromNanos(attr.atime_ns), FromNanos(attr.mtime_ns)};
    return FromResult(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), what);
  }

 private:
  static Result<std::unique_ptr<OpenFile>> OpenAt(const std::string& path, int flags) {
    UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, 0600));
    if (!fd.IsOpen()) return Status::FromErrno(errno, "open " + path);
    return std::unique_ptr<OpenFile>(std::make_unique<LocalFile>(std::move(fd), path));
  }
};

}  // namespace

std::unique_ptr<Tree> MakeLocalTree() { return std::make_unique<LocalTree>(); }

}  // namespace sheaf::cli
