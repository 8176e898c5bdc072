#include "storage/engine/committer.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {

Committer::Committer(ChunkIndex& index, SlabSpace& space, ReadPins& pins,
                     Guarded<ChunkTable>& table, std::function<void(size_t)> ended,
                     Metrics::Histogram* commit_seconds)
    : index_(index),
      space_(space),
      pins_(pins),
      table_(table),
      ended_(std::move(ended)),
      commit_seconds_(commit_seconds),
      index_thread_([this] { RunIndexStage(); }),
      sync_thread_([this] { RunSyncStage(); }) {}

Committer::~Committer() {
  written_.Stop();
  sync_thread_.join();
  synced_.Stop();
  index_thread_.join();
}

void Committer::Queue::Push(Item item) {
  state_.Lock()->items.push_back(std::move(item));
  changed_.notify_one();
}

void Committer::Queue::Push(std::vector<Item> items) {
  {
    auto state = state_.Lock();
    std::move(items.begin(), items.end(), std::back_inserter(state->items));
  }
  changed_.notify_one();
}

std::vector<Committer::Item> Committer::Queue::Take() {
  auto state = state_.Lock();
  state.Wait(changed_, [&] { return state->stopping || !state->items.empty(); });
  const size_t count = std::min(state->items.size(), kMaxGroup);
  const auto end = state->items.begin() + static_cast<ptrdiff_t>(count);
  std::vector<Item> group(std::move_iterator(state->items.begin()), std::move_iterator(end));
  state->items.erase(state->items.begin(), end);
  return group;
}

void Committer::Queue::Stop() {
  state_.Lock()->stopping = true;
  changed_.notify_one();
}

void Committer::Add(Item item) { written_.Push(std::move(item)); }

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

void Committer::RunSyncStage() {
  while (true) {
    std::vector<Item> group = written_.Take();
    if (group.empty()) return;
    // Failed before the group is handed on, so that the index stage cannot miss it.
    if (Health().ok()) {
      if (const Status status = SyncSlabs(group); !status.ok()) Fail(status);
    }
    synced_.Push(std::move(group));
  }
}

void Committer::RunIndexStage() {
  while (true) {
    std::vector<Item> group = synced_.Take();
    if (group.empty()) return;
    CommitGroup(group);
  }
}

Status Committer::SyncSlabs(const std::vector<Item>& group) {
  std::set<uint32_t> slabs;
  for (const Item& item : group) slabs.insert(item.slabs.begin(), item.slabs.end());
  for (uint32_t slab : slabs) RETURN_IF_ERROR(space_.Sync(slab));
  return Status::Ok();
}

void Committer::CommitGroup(std::vector<Item>& group) {
  Status status = Health();
  if (status.ok()) {
    std::lock_guard lock(group_mutex_);
    const auto begin = std::chrono::steady_clock::now();
    status = WriteIndex(group);
    Count(group.size(), status.ok(), std::chrono::steady_clock::now() - begin);
    if (status.ok()) {
      for (const Item& item : group) {
        space_.allocator().Commit(item.added, item.dropped);
        space_.allocator().NameAgain(item.named_again);
      }
    } else {
      Fail(status);
    }
  }
  Publish(group, status.ok());
  if (status.ok()) {
    std::vector<BlockNumber> retired;
    for (const Item& item : group) {
      retired.insert(retired.end(), item.dropped.begin(), item.dropped.end());
      retired.insert(retired.end(), item.unused.begin(), item.unused.end());
    }
    pins_.Retire(std::move(retired));
  }
  Answer(group, status);
}

void Committer::Count(size_t changes, bool ok, std::chrono::duration<double> took) {
  groups_.fetch_add(1, std::memory_order_relaxed);
  changes_.fetch_add(changes, std::memory_order_relaxed);
  if (!ok) errors_.fetch_add(1, std::memory_order_relaxed);
  if (commit_seconds_ != nullptr) commit_seconds_->Observe(took.count());
}

Committer::Counts Committer::counts() const {
  return {.queued = written_.size() + synced_.size(),
          .groups = groups_,
          .changes = changes_,
          .errors = errors_};
}

Status Committer::WriteIndex(const std::vector<Item>& group) {
  std::vector<ChunkIndex::Change> changes;
  std::vector<Engine::StreamRow> rows;
  {
    std::unordered_map<const ChunkSlot*, size_t> places;
    auto table = table_.Lock();
    for (const Item& item : group) {
      rows.insert(rows.end(), item.rows.begin(), item.rows.end());
      if (item.slot == nullptr) continue;
      const auto [place, is_new] = places.emplace(item.slot.get(), changes.size());
      if (is_new) changes.push_back({item.slot->key, item.slot->indexed, nullptr});
      changes[place->second].after = item.after;
    }
  }
  return index_.Commit(changes, rows);
}

void Committer::Publish(std::vector<Item>& group, bool committed) {
  auto table = table_.Lock();
  for (Item& item : group) {
    if (item.slot == nullptr) continue;
    --item.slot->commits_in_flight;
    if (item.is_rewrite) --item.slot->rewrites;
    if (committed) PublishOne(item);
    table->Settle(*item.slot);
  }
}

void Committer::PublishOne(Item& item) {
  ChunkSlot& slot = *item.slot;
  if (item.revert_from.has_value()) {
    slot.held.Forget(*item.revert_from);
  } else if (item.ticket != 0 || !slot.held.empty()) {
    slot.held.Add({.ticket = item.ticket,
                   .before = slot.indexed,
                   .after = item.after,
                   .added = std::exchange(item.added, {}),
                   .dropped = std::exchange(item.dropped, {})});
  }
  slot.indexed = item.after;
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
