#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "common/status.h"
#include "tests/sim/random.h"
#include "tests/sim/scheduler.h"

namespace sheaf::sim {

// Messages between actors: each may be lost, late, doubled or overtaken.
class Network {
 public:
  struct Weather {
    uint32_t loss_percent = 0;
    uint32_t double_percent = 0;
    uint32_t late_percent = 0;  // of messages; these take up to `late`
    Time late = 0;
    Time delay = 200;  // of the others, up to this
  };

  Network(Scheduler& scheduler, Random random, size_t actors)
      : scheduler_(scheduler),
        random_(random),
        actors_(actors),
        cut_until_(actors * actors),
        slow_(actors) {}

  void SetWeather(const Weather& weather) { weather_ = weather; }
  // One direction only.
  void Cut(uint32_t from, uint32_t to, Time until) { cut_until_[from * actors_ + to] = until; }
  // What comes from the actor or goes to it takes up to `by` longer.
  void Slow(uint32_t actor, Time by) { slow_[actor] = by; }
  void HealAll() {
    cut_until_.assign(cut_until_.size(), 0);
    slow_.assign(slow_.size(), 0);
  }

  // `life` of the receiver, or any.
  void Send(const Actor& from, Actor& to, uint32_t life, Action action) {
    if (cut_until_[from.index * actors_ + to.index] > scheduler_.now()) return;
    if (random_.Percent(weather_.loss_percent)) return;
    if (random_.Percent(weather_.double_percent))
      scheduler_.At(scheduler_.now() + Delay(from, to), to, life, action);
    scheduler_.At(scheduler_.now() + Delay(from, to), to, life, std::move(action));
  }

  // The receiver's side of a call. Answers only once, however often it is called.
  template <typename Answer>
  class Responder {
   public:
    void operator()(Result<Answer> answer) const {
      network_->Send(*callee_, *call_->caller, call_->life,
                     [call = call_, answer = std::move(answer)] {
                       if (auto done = std::exchange(call->done, nullptr)) done(answer);
                     });
    }

   private:
    friend class Network;
    struct Call {
      Actor* caller = nullptr;
      uint32_t life = 0;
      std::function<void(const Result<Answer>&)> done;
    };
    Network* network_ = nullptr;
    const Actor* callee_ = nullptr;
    std::shared_ptr<Call> call_;
  };

  // `handle` gets a Responder. What is not answered by the deadline is answered kUnavailable.
  template <typename Answer, typename Handle>
  void Call(Actor& from, Actor& to, Time deadline, Handle handle,
            std::function<void(const Result<Answer>&)> done) {
    Responder<Answer> responder;
    responder.network_ = this;
    responder.callee_ = &to;
    responder.call_ = std::make_shared<typename Responder<Answer>::Call>();
    responder.call_->caller = &from;
    responder.call_->life = from.life;
    responder.call_->done = std::move(done);
    scheduler_.At(scheduler_.now() + deadline, from, from.life, [call = responder.call_] {
      if (auto late = std::exchange(call->done, nullptr))
        late(Status(Code::kUnavailable, "call: no answer"));
    });
    Send(from, to, Actor::kAnyLife,
         [handle = std::move(handle), responder = std::move(responder)] { handle(responder); });
  }

 private:
  Time Delay(const Actor& from, const Actor& to) {
    const Time slow = slow_[from.index] + slow_[to.index];
    const Time by = slow > 0 ? random_.Between(0, slow) : 0;
    if (random_.Percent(weather_.late_percent)) return by + random_.Between(1, weather_.late);
    return by + random_.Between(weather_.delay / 4, weather_.delay);
  }

  Scheduler& scheduler_;
  Random random_;
  const size_t actors_;
  Weather weather_;
  std::vector<Time> cut_until_;
  std::vector<Time> slow_;
};

}  // namespace sheaf::sim
