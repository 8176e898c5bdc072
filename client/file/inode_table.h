#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "client/file/inode_state.h"
#include "client/meta/session.h"
#include "common/guarded.h"

namespace sheaf::client {

// The regular files that this client has open. Thread-safe.
//
// An open is announced before it is asked for at the metadata service, and settled when the file
// is in the table or the open has failed: so the session can tell which removed inodes are open.
class InodeTable : public OpenInodes {
 public:
  static constexpr size_t kMaxOpen = 1 << 20;  // inodes

  // An open under way, until the end of the scope.
  class Opening {
   public:
    explicit Opening(InodeTable& table) : table_(table), number_(table.BeginOpen()) {}
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;
    ~Opening() { table_.EndOpen(number_); }

   private:
    InodeTable& table_;
    const uint64_t number_;
  };

  // One more handle on the file, which the metadata service has just described.
  Result<std::shared_ptr<InodeState>> Acquire(const proto::Attr& attr);
  // One less; true when it was the last.
  bool Release(InodeId inode);
  // Null when not open.
  std::shared_ptr<InodeState> Find(InodeId inode) const;
  std::vector<std::shared_ptr<InodeState>> All() const;
  size_t size() const { return state_.Lock()->inodes.size(); }

  uint64_t OpenMark() const override;
  bool OpensSettled(uint64_t mark) const override;
  bool IsOpen(InodeId inode) const override { return Find(inode) != nullptr; }
  bool UsesData(InodeId inode, DataId data) const override {
    const auto open = Find(inode);
    return open != nullptr && open->view().data_id == data;
  }

 private:
  struct Entry {
    std::shared_ptr<InodeState> state;
    size_t handles = 0;
  };
  struct State {
    std::unordered_map<InodeId, Entry> inodes;
    std::set<uint64_t> opening;
    uint64_t next_open = 1;
  };

  uint64_t BeginOpen();
  void EndOpen(uint64_t number);

  Guarded<State> state_;
};

}  // namespace sheaf::client
