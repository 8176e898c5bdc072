#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/sheaf.h"
#include "common/status.h"

namespace sheaf::cli {

// One side of a copy: a local file system or Sheaf, behind the calls that copying a tree takes.
// Directories are named by handles, so that depth costs no path walks. Thread-safe.
class Tree {
 public:
  struct Directory {
    std::string path;  // for messages; what a local tree works with
    InodeId inode;     // what Sheaf works with
  };
  struct Item {
    std::string name;
    FileAttr attr;
    uint64_t device = 0;  // tells hard links of different file systems apart
  };

  // Positioned reads and writes of one open file; several threads may use it at once.
  class OpenFile {
   public:
    virtual ~OpenFile() = default;
    // Short only at the end of the file.
    virtual Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) = 0;
    virtual Status Write(uint64_t offset, std::span<const uint8_t> from) = 0;
    virtual Status SetSize(uint64_t size) = 0;
    virtual Status Close() = 0;
  };

  virtual ~Tree() = default;

  // "/a/b" as the directory "/a" and the name "b"; the root is the directory "/" and the name "".
  struct Location {
    Directory directory;
    std::string name;
  };
  virtual Result<Location> Locate(const std::string& path) = 0;
  // The directory that a path leads to, symlinks followed. kNotDirectory if it is none.
  virtual Result<Directory> OpenDirectory(const std::string& path) = 0;
  // The item itself, not what a symlink points at. An empty name is the directory itself.
  virtual Result<Item> Find(const Directory& parent, const std::string& name) = 0;
  virtual Result<Directory> Enter(const Directory& parent, const Item& item) = 0;
  // Without "." and "..".
  virtual Result<std::vector<Item>> List(const Directory& directory) = 0;
  virtual Result<std::string> ReadLink(const Directory& parent, const Item& item) = 0;
  virtual Result<std::unique_ptr<OpenFile>> Open(const Directory& parent, const Item& item) = 0;

  // Made for the owner alone until SetAttributes. A file that is there is emptied.
  virtual Result<std::unique_ptr<OpenFile>> Create(const Directory& parent,
                                                   const std::string& name) = 0;
  // A small file with all that is in it and its attributes.
  struct WholeFile {
    Directory parent;
    std::string name;
    FileAttr attr;
    std::span<const uint8_t> bytes;
  };
  // Whether WriteFiles is worth while: one call makes many files.
  virtual bool WritesWholeFiles() const { return false; }
  // A status each; kExists where the name is taken. REQUIRES: WritesWholeFiles().
  virtual std::vector<Status> WriteFiles(std::span<const WholeFile> files) {
    return std::vector<Status>(files.size(), {Code::kUnsupported, "not by this tree"});
  }
  virtual Status MakeDirectory(const Directory& parent, const std::string& name) = 0;
  virtual Status MakeSymlink(const Directory& parent, const std::string& name,
                             const std::string& target) = 0;
  virtual Status MakeNode(const Directory& parent, const std::string& name,
                          const FileAttr& attr) = 0;
  virtual Status MakeLink(const Directory& from_parent, const std::string& from_name,
                          const Directory& parent, const std::string& name) = 0;
  virtual Status Remove(const Directory& parent, const std::string& name) = 0;
  // Mode (not of symlinks), times, and owner where this process is root.
  virtual Status SetAttributes(const Directory& parent, const std::string& name,
                               const FileAttr& attr) = 0;
};

std::unique_ptr<Tree> MakeLocalTree();
// `client` outlives it.
std::unique_ptr<Tree> MakeSheafTree(Client& client);

}  // namespace sheaf::cli
