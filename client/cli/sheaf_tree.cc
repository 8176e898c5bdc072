#include <fcntl.h>
#include <unistd.h>

#include "client/cli/tree.h"

namespace sheaf::cli {
namespace {

constexpr uint32_t kEntriesAPage = 1024;

std::string Join(const Tree::Directory& directory, const std::string& name) {
  if (name.empty()) return directory.path;
  return directory.path + (directory.path.ends_with('/') ? "" : "/") + name;
}

class SheafFile final : public Tree::OpenFile {
 public:
  explicit SheafFile(std::shared_ptr<File> file) : file_(std::move(file)) {}

  Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) override {
    return file_->Read(offset, into);
  }
  Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    return file_->Write(offset, from).status();
  }
  Status SetSize(uint64_t size) override { return file_->Truncate(size); }
  Status Close() override { return file_->Close(); }

 private:
  const std::shared_ptr<File> file_;
};

class SheafTree final : public Tree {
 public:
  explicit SheafTree(Client& client) : client_(client), who_(Credentials::OfProcess()) {}

  Result<Location> Locate(const std::string& path) override {
    if (path == "/") return Location{{"sheaf:/", kRootInode}, ""};
    ASSIGN_OR_RETURN(Client::Location found, client_.Locate(path));
    const std::string parent = path.substr(0, path.rfind('/'));
    return Location{{"sheaf:" + (parent.empty() ? "/" : parent), found.parent}, found.name};
  }

  Result<Directory> OpenDirectory(const std::string& path) override {
    ASSIGN_OR_RETURN(const FileAttr attr, client_.StatPath(path, true));
    if (!attr.IsDirectory()) return Status(Code::kNotDirectory, path + ": not a directory");
    return Directory{"sheaf:" + path, attr.inode};
  }

  Result<Item> Find(const Directory& parent, const std::string& name) override {
    auto attr = name.empty() ? client_.GetAttr(who_, parent.inode)
                             : client_.Lookup(who_, parent.inode, name);
    if (!attr.ok()) return Named(attr.status(), parent, name);
    return Item{name, *attr, 0};
  }

  Result<Directory> Enter(const Directory& parent, const Item& item) override {
    return Directory{Join(parent, item.name), item.attr.inode};
  }

  Result<std::vector<Item>> List(const Directory& directory) override {
    std::vector<Item> items;
    uint64_t cookie = 0;
    for (bool end = false; !end;) {
      ASSIGN_OR_RETURN(DirectoryPage page, client_.ReadDirectory(who_, directory.inode, cookie,
                                                                 kEntriesAPage, true));
      for (DirectoryEntry& entry : page.entries) {
        cookie = entry.cookie;
        if (entry.name == "." || entry.name == "..") continue;
        ASSIGN_OR_RETURN(Item item, Complete(directory, entry));
        items.push_back(std::move(item));
      }
      end = page.end || page.entries.empty();
    }
    return items;
  }

  Result<std::string> ReadLink(const Directory&, const Item& item) override {
    return client_.Readlink(who_, item.attr.inode);
  }

  Result<std::unique_ptr<OpenFile>> Open(const Directory& parent, const Item& item) override {
    auto file = client_.Open(who_, item.attr.inode, O_RDONLY);
    if (!file.ok()) return Named(file.status(), parent, item.name);
    return std::unique_ptr<OpenFile>(std::make_unique<SheafFile>(*file));
  }

  Result<std::unique_ptr<OpenFile>> Create(const Directory& parent,
                                           const std::string& name) override {
    auto made = client_.Create(who_, parent.inode, name, S_IFREG | 0600, O_RDWR | O_CREAT | O_TRUNC);
    if (!made.ok()) return Named(made.status(), parent, name);
    return std::unique_ptr<OpenFile>(std::make_unique<SheafFile>(made->file));
  }

  bool WritesWholeFiles() const override { return true; }

  std::vector<Status> WriteFiles(std::span<const WholeFile> files) override {
    std::vector<Client::WholeFile> whole;
    whole.reserve(files.size());
    for (const WholeFile& file : files) {
      whole.push_back({file.parent.inode, file.name, file.bytes, ChangeTo(file.attr)});
    }
    std::vector<Status> statuses = client_.WriteFiles(who_, whole);
    for (size_t i = 0; i < files.size(); ++i) {
      if (!statuses[i].ok()) statuses[i] = Named(statuses[i], files[i].parent, files[i].name);
    }
    return statuses;
  }

  Status MakeDirectory(const Directory& parent, const std::string& name) override {
    return Named(client_.Mkdir(who_, parent.inode, name, 0700).status(), parent, name);
  }

  Status MakeSymlink(const Directory& parent, const std::string& name,
                     const std::string& target) override {
    return Named(client_.Symlink(who_, parent.inode, name, target).status(), parent, name);
  }

  Status MakeNode(const Directory& parent, const std::string& name, const FileAttr& attr) override {
    const uint32_t mode = (attr.mode & S_IFMT) | 0600;
    return Named(client_.Mknod(who_, parent.inode, name, mode, attr.rdev).status(), parent, name);
  }

  Status MakeLink(const Directory& from_parent, const std::string& from_name,
                  const Directory& parent, const std::string& name) override {
    ASSIGN_OR_RETURN(const Item from, Find(from_parent, from_name));
    return Named(client_.Link(who_, from.attr.inode, parent.inode, name).status(), parent, name);
  }

  Status Remove(const Directory& parent, const std::string& name) override {
    return Named(client_.Unlink(who_, parent.inode, name), parent, name);
  }

  Status SetAttributes(const Directory& parent, const std::string& name,
                       const FileAttr& attr) override {
    ASSIGN_OR_RETURN(const Item item, Find(parent, name));
    return Named(client_.SetAttr(who_, item.attr.inode, ChangeTo(attr)).status(), parent, name);
  }

 private:
  AttrChange ChangeTo(const FileAttr& attr) const {
    AttrChange change;
    if (!S_ISLNK(attr.mode)) change.mode = attr.mode & 07777;
    if (who_.uid == 0) {
      change.uid = attr.uid;
      change.gid = attr.gid;
    }
    change.atime_ns = attr.atime_ns;
    change.mtime_ns = attr.mtime_ns;
    return change;
  }

  static Status Named(const Status& status, const Directory& parent, const std::string& name) {
    return status.With(Join(parent, name));
  }

  Result<Item> Complete(const Directory& directory, const DirectoryEntry& entry) {
    if (entry.attr.has_value()) return Item{entry.name, *entry.attr, 0};
    return Find(directory, entry.name);
  }

  Client& client_;
  const Credentials who_;
};

}  // namespace

std::unique_ptr<Tree> MakeSheafTree(Client& client) { return std::make_unique<SheafTree>(client); }

}  // namespace sheaf::cli
