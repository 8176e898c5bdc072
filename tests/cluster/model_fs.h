#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/status.h"

namespace sheaf::testing {

// A plain file system in memory, as POSIX wants it: what the model test holds the real one to.
// Nodes are numbers; 1 is the root. Not thread-safe.
class ModelFs {
 public:
  using Node = uint64_t;
  enum class Type { kFile, kDirectory, kLink };

  static constexpr Node kRoot = 1;

  ModelFs();

  Result<Node> Lookup(Node parent, const std::string& name) const;
  Result<Node> Create(Node parent, const std::string& name, Type type, std::string bytes = {});
  Status Link(Node node, Node parent, const std::string& name);
  Status Unlink(Node parent, const std::string& name);
  Status Rmdir(Node parent, const std::string& name);
  Status Rename(Node parent, const std::string& name, Node new_parent,
                const std::string& new_name);

  Type type(Node node) const { return nodes_.at(node).type; }
  uint32_t nlink(Node node) const;
  std::string& bytes(Node node) { return nodes_.at(node).bytes; }
  const std::map<std::string, Node>& children(Node node) const { return nodes_.at(node).children; }
  // Directories reachable from the root, the root first.
  std::vector<Node> Directories() const;

  void Write(Node node, uint64_t offset, const std::string& data);
  void Truncate(Node node, uint64_t size) { bytes(node).resize(size, '\0'); }

 private:
  struct Entry {
    Type type = Type::kFile;
    std::string bytes;  // a link's target
    std::map<std::string, Node> children;
    uint32_t links = 0;
  };

  Status CheckMayReplace(Node source, Node target) const;
  bool IsBelow(Node node, Node ancestor) const;

  std::map<Node, Entry> nodes_;
  Node next_ = kRoot + 1;
};

}  // namespace sheaf::testing
