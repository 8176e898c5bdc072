#include "tests/support/model_fs.h"

#include <utility>

namespace sheaf {
namespace {

bool IsDirectory(const ModelFs::NodePtr& node) { return node->type == ModelFs::Type::kDirectory; }

Status CheckParent(const ModelFs::NodePtr& parent) {
  if (!IsDirectory(parent)) return {Code::kNotDirectory, "model: not a directory"};
  if (parent->nlink == 0) return {Code::kNotFound, "model: removed"};
  return Status::Ok();
}

}  // namespace

ModelFs::ModelFs() : root_(std::make_shared<Node>()) {
  root_->type = Type::kDirectory;
  root_->mode = 0755;
  root_->nlink = 2;
  root_->parent = root_;
}

Result<ModelFs::NodePtr> ModelFs::Lookup(const NodePtr& parent, const std::string& name) const {
  if (!IsDirectory(parent)) return Status(Code::kNotDirectory, "model");
  const auto found = parent->children.find(name);
  if (found == parent->children.end()) return Status(Code::kNotFound, "model");
  return found->second;
}

void ModelFs::Attach(const NodePtr& parent, const std::string& name, const NodePtr& node) {
  parent->children[name] = node;
  if (!IsDirectory(node)) return;
  node->parent = parent;
  ++parent->nlink;
}

void ModelFs::Detach(const NodePtr& parent, const std::string& name) {
  const NodePtr node = parent->children.at(name);
  parent->children.erase(name);
  if (IsDirectory(node)) --parent->nlink;
}

Result<ModelFs::NodePtr> ModelFs::Make(const NodePtr& parent, const std::string& name, Type type,
                                       uint32_t mode, const std::string& target) {
  if (!IsDirectory(parent)) return Status(Code::kNotDirectory, "model");
  if (parent->children.contains(name)) return Status(Code::kExists, "model");
  RETURN_IF_ERROR(CheckParent(parent));
  auto node = std::make_shared<Node>();
  node->type = type;
  node->mode = mode;
  node->target = target;
  node->nlink = type == Type::kDirectory ? 2 : 1;
  Attach(parent, name, node);
  return node;
}

Status ModelFs::Link(const NodePtr& node, const NodePtr& parent, const std::string& name) {
  if (!IsDirectory(parent)) return {Code::kNotDirectory, "model"};
  if (parent->children.contains(name)) return {Code::kExists, "model"};
  RETURN_IF_ERROR(CheckParent(parent));
  if (IsDirectory(node)) return {Code::kNotPermitted, "model"};
  if (node->nlink == 0) return {Code::kNotFound, "model"};
  ++node->nlink;
  Attach(parent, name, node);
  return Status::Ok();
}

Status ModelFs::Unlink(const NodePtr& parent, const std::string& name) {
  ASSIGN_OR_RETURN(const NodePtr node, Lookup(parent, name));
  if (IsDirectory(node)) return {Code::kIsDirectory, "model"};
  Detach(parent, name);
  --node->nlink;
  return Status::Ok();
}

Status ModelFs::Rmdir(const NodePtr& parent, const std::string& name) {
  ASSIGN_OR_RETURN(const NodePtr node, Lookup(parent, name));
  if (!IsDirectory(node)) return {Code::kNotDirectory, "model"};
  if (!node->children.empty()) return {Code::kNotEmpty, "model"};
  Detach(parent, name);
  node->nlink = 0;
  return Status::Ok();
}

bool ModelFs::IsUnder(NodePtr node, const NodePtr& above) {
  for (; node != above; node = node->parent.lock()) {
    if (node == node->parent.lock()) return false;  // the root
  }
  return true;
}

Status ModelFs::Rename(const NodePtr& parent, const std::string& name, const NodePtr& new_parent,
                       const std::string& new_name, bool no_replace, bool exchange) {
  if (!IsDirectory(parent) || !IsDirectory(new_parent)) return {Code::kNotDirectory, "model"};
  ASSIGN_OR_RETURN(const NodePtr moved, Lookup(parent, name));
  const Result<NodePtr> found = Lookup(new_parent, new_name);
  const NodePtr target = found.ok() ? *found : nullptr;
  if (exchange && !target) return {Code::kNotFound, "model"};
  if (no_replace && target) return {Code::kExists, "model"};
  if (target == moved) return Status::Ok();
  const bool crosses = parent != new_parent;
  if (crosses && IsDirectory(moved) && IsUnder(new_parent, moved)) return {Code::kInvalid, "model"};
  if (crosses && target && IsDirectory(target) && IsUnder(parent, target)) {
    return {exchange ? Code::kInvalid : Code::kNotEmpty, "model"};
  }
  RETURN_IF_ERROR(CheckParent(new_parent));
  if (target && !exchange) {
    if (IsDirectory(moved) && !IsDirectory(target)) return {Code::kNotDirectory, "model"};
    if (!IsDirectory(moved) && IsDirectory(target)) return {Code::kIsDirectory, "model"};
    if (!target->children.empty()) return {Code::kNotEmpty, "model"};
  }
  Detach(parent, name);
  if (target) Detach(new_parent, new_name);
  Attach(new_parent, new_name, moved);
  if (exchange) {
    Attach(parent, name, target);
  } else if (target) {
    target->nlink = IsDirectory(target) ? 0 : target->nlink - 1;
  }
  return Status::Ok();
}

}  // namespace sheaf
