#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/status.h"

namespace sheaf {

// A plain in-memory file system: what the real one must agree with, for one superuser and without
// limits. Everything is by (directory, name), as the namespace operations are. Not thread-safe.
class ModelFs {
 public:
  enum class Type { kFile, kDirectory, kSymlink };

  struct Node {
    Type type = Type::kFile;
    uint32_t mode = 0;  // permission bits
    uint32_t nlink = 1;
    uint64_t size = 0;   // files
    std::string target;  // symbolic links
    std::map<std::string, std::shared_ptr<Node>> children;
    std::map<std::string, std::string> xattrs;
    std::weak_ptr<Node> parent;  // directories
  };
  using NodePtr = std::shared_ptr<Node>;

  ModelFs();
  const NodePtr& root() const { return root_; }

  Result<NodePtr> Lookup(const NodePtr& parent, const std::string& name) const;
  Result<NodePtr> Make(const NodePtr& parent, const std::string& name, Type type, uint32_t mode,
                       const std::string& target = {});
  Status Link(const NodePtr& node, const NodePtr& parent, const std::string& name);
  Status Unlink(const NodePtr& parent, const std::string& name);
  Status Rmdir(const NodePtr& parent, const std::string& name);
  Status Rename(const NodePtr& parent, const std::string& name, const NodePtr& new_parent,
                const std::string& new_name, bool no_replace, bool exchange);

 private:
  static bool IsUnder(NodePtr node, const NodePtr& above);
  static void Attach(const NodePtr& parent, const std::string& name, const NodePtr& node);
  static void Detach(const NodePtr& parent, const std::string& name);

  NodePtr root_;
};

}  // namespace sheaf
