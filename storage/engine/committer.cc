#include "storage/engine/committer.h"

#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {

Committer::Committer(ChunkIndex& index, SlabSpace& space, ReadPins& pins,
                     Guarded<ChunkTable>& table, std::function<void(size_t)> ended)
    : index_(index),
      space_(space),
      pins_(pins),
      table_(table),
      ended_(std::move(ended)),
      thread_([this] { Run(); }) {}

Committer::~Committer() {
  queue_.Lock()->stopping = true;
  changed_.notify_one();
  thread_.join();
}

void Committer::Add(Item item) {
  queue_.Lock()->items.push_back(std::move(item));
  changed_.notify_one();
}

Status Committer::Health() const { return *health_.Lock(); }

void Committer::Fail(const Status& status) {
  auto health = health_.Lock();
  if (!health->ok()) return;
  *health = status;
  LogError("target leaves service: {}", status.ToString());
}

void Committer::BetweenGroups(const std::function<void()>& action) {
  std::lock_guard lock(group_mutex_);
  action();
}

void Committer::Run() {
  while (true) {
    std::vector<Item> group;
    {
      auto queue = queue_.Lock();
      queue.Wait(changed_, [&] { return queue->stopping || !queue->items.empty(); });
      if (queue->items.empty()) return;
      while (!queue->items.empty() && group.size() < kMaxGroup) {
        group.push_back(std::move(queue->items.front()));
        queue->items.pop_front();
      }
    }
    CommitGroup(group);
  }
}

void Committer::CommitGroup(std::vector<Item>& group) {
  Status status = Health();
  {
    std::lock_guard lock(group_mutex_);
    if (status.ok()) {
      status = MakeDurable(group);
      if (status.ok()) {
        for (const Item& item : group) space_.allocator().Commit(item.added, item.dropped);
      } else {
        Fail(status);
      }
    }
  }
  Publish(group, status.ok());
  if (status.ok()) {
    std::vector<BlockNumber> retired;
    for (const Item& item : group) {
      retired.insert(retired.end(), item.dropped.begin(), item.dropped.end());
    }
    pins_.Retire(std::move(retired));
  }
  Answer(group, status);
}

Status Committer::MakeDurable(const std::vector<Item>& group) {
  std::set<uint32_t> slabs;
  for (const Item& item : group) slabs.insert(item.slabs.begin(), item.slabs.end());
  for (uint32_t slab : slabs) RETURN_IF_ERROR(space_.Sync(slab));

  std::vector<ChunkIndex::Change> changes;
  {
    std::unordered_map<const ChunkSlot*, size_t> places;
    auto table = table_.Lock();
    for (const Item& item : group) {
      const auto [place, is_new] = places.emplace(item.slot.get(), changes.size());
      if (is_new) changes.push_back({item.slot->key, item.slot->committed, nullptr});
      changes[place->second].after = item.after;
    }
  }
  return index_.Commit(changes);
}

void Committer::Publish(const std::vector<Item>& group, bool committed) {
  auto table = table_.Lock();
  for (const Item& item : group) {
    --item.slot->commits_in_flight;
    if (committed) item.slot->committed = item.after;
    table->Settle(*item.slot);
  }
}

void Committer::Answer(std::vector<Item>& group, const Status& status) {
  std::map<IoContext*, std::vector<std::function<void(Status)>>> answers;
  for (Item& item : group) answers[item.io].push_back(std::move(item.done));
  for (auto& [io, dones] : answers) {
    const size_t count = dones.size();
    io->Post([dones = std::move(dones), status] {
      for (const auto& done : dones) done(status);
    });
    ended_(count);
  }
}

}  // namespace sheaf::storage
