#include "client/file/inode_table.h"

namespace sheaf::client {

Result<std::shared_ptr<InodeState>> InodeTable::Acquire(const proto::Attr& attr) {
  const InodeId inode(attr.inode());
  auto table = state_.Lock();
  if (table->inodes.size() >= kMaxOpen) {
    return Status(Code::kTooManyFiles, "open inode " + ToString(inode) + ": " +
                                           std::to_string(kMaxOpen) + " are open already");
  }
  const auto known = table->inodes.find(inode);
  auto state = known == table->inodes.end() ? std::make_shared<InodeState>(inode)
                                            : known->second.state;
  RETURN_IF_ERROR(state->Adopt(attr));
  Entry& entry = table->inodes[inode];
  entry.state = state;
  ++entry.handles;
  return state;
}

bool InodeTable::Release(InodeId inode) {
  auto table = state_.Lock();
  const auto entry = table->inodes.find(inode);
  CHECK(entry != table->inodes.end(), "release of inode " + ToString(inode) + ", not open");
  if (--entry->second.handles > 0) return false;
  table->inodes.erase(entry);
  return true;
}

std::shared_ptr<InodeState> InodeTable::Find(InodeId inode) const {
  auto table = state_.Lock();
  const auto entry = table->inodes.find(inode);
  return entry == table->inodes.end() ? nullptr : entry->second.state;
}

std::vector<std::shared_ptr<InodeState>> InodeTable::All() const {
  auto table = state_.Lock();
  std::vector<std::shared_ptr<InodeState>> all;
  all.reserve(table->inodes.size());
  for (const auto& [inode, entry] : table->inodes) all.push_back(entry.state);
  return all;
}

uint64_t InodeTable::BeginOpen() {
  auto table = state_.Lock();
  table->opening.insert(table->next_open);
  return table->next_open++;
}

void InodeTable::EndOpen(uint64_t number) { state_.Lock()->opening.erase(number); }

uint64_t InodeTable::OpenMark() const { return state_.Lock()->next_open; }

bool InodeTable::OpensSettled(uint64_t mark) const {
  auto table = state_.Lock();
  return table->opening.empty() || *table->opening.begin() >= mark;
}

}  // namespace sheaf::client
