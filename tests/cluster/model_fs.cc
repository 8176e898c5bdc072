#include "tests/cluster/model_fs.h"

#include <algorithm>

namespace sheaf::testing {

ModelFs::ModelFs() { nodes_[kRoot] = {.type = Type::kDirectory, .links = 1}; }

Result<ModelFs::Node> ModelFs::Lookup(Node parent, const std::string& name) const {
  const auto& children = nodes_.at(parent).children;
  const auto found = children.find(name);
  if (found == children.end()) return Status(Code::kNotFound, name);
  return found->second;
}

Result<ModelFs::Node> ModelFs::Create(Node parent, const std::string& name, Type type,
                                      std::string bytes) {
  if (Lookup(parent, name).ok()) return Status(Code::kExists, name);
  const Node node = next_++;
  nodes_[node] = {.type = type, .bytes = std::move(bytes), .links = 1};
  nodes_.at(parent).children[name] = node;
  return node;
}

Status ModelFs::Link(Node node, Node parent, const std::string& name) {
  if (type(node) == Type::kDirectory) return {Code::kNotPermitted, name};
  if (nodes_.at(node).links == 0) return {Code::kNotFound, name};
  if (Lookup(parent, name).ok()) return {Code::kExists, name};
  nodes_.at(parent).children[name] = node;
  ++nodes_.at(node).links;
  return Status::Ok();
}

Status ModelFs::Unlink(Node parent, const std::string& name) {
  ASSIGN_OR_RETURN(const Node node, Lookup(parent, name));
  if (type(node) == Type::kDirectory) return {Code::kIsDirectory, name};
  nodes_.at(parent).children.erase(name);
  --nodes_.at(node).links;
  return Status::Ok();
}

Status ModelFs::Rmdir(Node parent, const std::string& name) {
  ASSIGN_OR_RETURN(const Node node, Lookup(parent, name));
  if (type(node) != Type::kDirectory) return {Code::kNotDirectory, name};
  if (!children(node).empty()) return {Code::kNotEmpty, name};
  nodes_.at(parent).children.erase(name);
  nodes_.at(node).links = 0;
  return Status::Ok();
}

bool ModelFs::IsBelow(Node node, Node ancestor) const {
  if (node == ancestor) return true;
  for (const auto& [name, child] : children(ancestor)) {
    if (type(child) == Type::kDirectory && IsBelow(node, child)) return true;
  }
  return false;
}

Status ModelFs::CheckMayReplace(Node source, Node target) const {
  const bool from_directory = type(source) == Type::kDirectory;
  const bool to_directory = type(target) == Type::kDirectory;
  if (from_directory && !to_directory) return {Code::kNotDirectory, "rename"};
  if (!from_directory && to_directory) return {Code::kIsDirectory, "rename"};
  if (to_directory && !children(target).empty()) return {Code::kNotEmpty, "rename"};
  return Status::Ok();
}

Status ModelFs::Rename(Node parent, const std::string& name, Node new_parent,
                       const std::string& new_name) {
  ASSIGN_OR_RETURN(const Node node, Lookup(parent, name));
  if (type(node) == Type::kDirectory && IsBelow(new_parent, node)) return {Code::kInvalid, name};
  const auto target = Lookup(new_parent, new_name);
  if (target.ok()) {
    // Linux looks at this before it compares the kinds.
    if (type(*target) == Type::kDirectory && IsBelow(parent, *target)) {
      return {Code::kNotEmpty, new_name};
    }
    if (*target == node) return Status::Ok();  // two names of one file stay
    RETURN_IF_ERROR(CheckMayReplace(node, *target));
    --nodes_.at(*target).links;
  }
  nodes_.at(parent).children.erase(name);
  nodes_.at(new_parent).children[new_name] = node;
  return Status::Ok();
}

uint32_t ModelFs::nlink(Node node) const {
  const Entry& entry = nodes_.at(node);
  if (entry.type != Type::kDirectory) return entry.links;
  const auto directories =
      std::count_if(entry.children.begin(), entry.children.end(), [&](const auto& child) {
        return type(child.second) == Type::kDirectory;
      });
  return 2 + static_cast<uint32_t>(directories);
}

std::vector<ModelFs::Node> ModelFs::Directories() const {
  std::vector<Node> found = {kRoot};
  for (size_t i = 0; i < found.size(); ++i) {
    for (const auto& [name, child] : children(found[i])) {
      if (type(child) == Type::kDirectory) found.push_back(child);
    }
  }
  return found;
}

void ModelFs::Write(Node node, uint64_t offset, const std::string& data) {
  std::string& to = bytes(node);
  if (to.size() < offset + data.size()) to.resize(offset + data.size(), '\0');
  std::copy(data.begin(), data.end(), to.begin() + static_cast<ptrdiff_t>(offset));
}

}  // namespace sheaf::testing
