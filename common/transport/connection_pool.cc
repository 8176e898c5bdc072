#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/transport/connection.h"

namespace sheaf::transport {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackOff{50};
constexpr milliseconds kMaxBackOff{2000};
// A connection that broke sooner counts as a failed attempt, or a server that accepts and closes
// would be connected to without a pause.
constexpr milliseconds kShortLife{1000};
// Beyond it, addresses that nothing is connected to are forgotten.
constexpr size_t kMaxIdleAddresses = 1024;

struct Member {
  std::shared_ptr<Connection> connection;
  Clock::Instant opened;
};

struct Slot {
  std::vector<Member> members;
  bool opening = false;  // one thread at a time connects to an address
  int failures = 0;      // in a row
  Clock::Instant not_before{};
  Status last_failure;

  bool IsIdle(Clock::Instant now) const { return members.empty() && !opening && now >= not_before; }
};

}  // namespace

struct ConnectionPool::Impl {
  explicit Impl(const Options& given) : options(given) {}

  Result<std::shared_ptr<Connection>> Get(const Address& address);
  Slot& SlotOf(const std::string& name, Clock::Instant now);
  void DropBroken(Slot& slot, Clock::Instant now);
  void NoteFailure(Slot& slot, Status failure, Clock::Instant now);
  Result<std::shared_ptr<Connection>> Open(std::unique_lock<std::mutex>& lock, Slot& slot,
                                           const Address& address);

  const Options options;
  std::mutex mutex;
  std::condition_variable opened;
  std::map<std::string, Slot> slots;  // by Address::ToString(); nodes stay where they are
  std::minstd_rand jitter{std::random_device{}()};
};

Slot& ConnectionPool::Impl::SlotOf(const std::string& name, Clock::Instant now) {
  if (slots.size() > kMaxIdleAddresses) {
    std::erase_if(
        slots, [&](const auto& entry) { return entry.first != name && entry.second.IsIdle(now); });
  }
  return slots[name];
}

void ConnectionPool::Impl::NoteFailure(Slot& slot, Status failure, Clock::Instant now) {
  const auto wait = std::min(kMaxBackOff, kFirstBackOff * (1 << std::min(slot.failures, 10)));
  // Between half and all of it, so that clients of a server that restarts come apart.
  std::uniform_int_distribution<int64_t> spread(wait.count() / 2, wait.count());
  slot.not_before = now + milliseconds(spread(jitter));
  slot.last_failure = std::move(failure);
  ++slot.failures;
}

void ConnectionPool::Impl::DropBroken(Slot& slot, Clock::Instant now) {
  std::erase_if(slot.members, [&](const Member& member) {
    if (!member.connection->IsBroken()) return false;
    if (now - member.opened < kShortLife) {
      NoteFailure(slot, Status(Code::kUnavailable, "the last connection broke at once"), now);
    }
    return true;
  });
}

// REQUIRES: no thread is opening for this slot. Unlocks while it connects.
Result<std::shared_ptr<Connection>> ConnectionPool::Impl::Open(std::unique_lock<std::mutex>& lock,
                                                               Slot& slot, const Address& address) {
  slot.opening = true;
  lock.unlock();
  auto result = Connection::Open(address, options.connection);
  lock.lock();
  slot.opening = false;
  const Clock::Instant now = Clock::System().Now();
  if (result.ok()) {
    slot.members.push_back({*result, now});
    slot.failures = now < slot.not_before + kShortLife ? slot.failures : 0;
  } else {
    NoteFailure(slot, result.status(), now);
  }
  opened.notify_all();
  return result;
}

Result<std::shared_ptr<Connection>> ConnectionPool::Impl::Get(const Address& address) {
  const std::string name = address.ToString();
  const auto give_up =
      std::chrono::steady_clock::now() + milliseconds(2 * options.connection.connect_timeout_ms);
  std::unique_lock lock(mutex);
  for (;;) {
    const Clock::Instant now = Clock::System().Now();
    Slot& slot = SlotOf(name, now);
    DropBroken(slot, now);
    const auto least = std::min_element(
        slot.members.begin(), slot.members.end(), [](const Member& a, const Member& b) {
          return a.connection->under_way() < b.connection->under_way();
        });
    const bool any = least != slot.members.end();
    const bool may_open = slot.members.size() < static_cast<size_t>(options.per_address) &&
                          !slot.opening && now >= slot.not_before;
    const bool wants_more = !any || least->connection->under_way() > 0;
    if (wants_more && may_open) {
      // With another at hand, a failed attempt to add one is no failure.
      std::shared_ptr<Connection> spare = any ? least->connection : nullptr;
      auto result = Open(lock, slot, address);
      if (!result.ok() && spare) return spare;
      return result;
    }
    if (any) return least->connection;
    if (!slot.opening) {
      return Status(Code::kUnavailable,
                    "connect to " + name + ": backing off after: " + slot.last_failure.message());
    }
    if (opened.wait_until(lock, give_up) == std::cv_status::timeout) {
      return Status(Code::kUnavailable, "connect to " + name + ": still being connected");
    }
  }
}

ConnectionPool::ConnectionPool(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
ConnectionPool::~ConnectionPool() = default;

Result<std::shared_ptr<Connection>> ConnectionPool::Get(const Address& address) {
  return impl_->Get(address);
}

}  // namespace sheaf::transport
