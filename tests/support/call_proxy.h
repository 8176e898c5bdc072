#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"

namespace sheaf::testing {

// A gRPC server that hands unary calls of any service on to another, one at a time, and can lose
// their replies or send a call twice; for tests of what a client and a server make of that. Every
// call is kept, to be sent again later as a network might.
class CallProxy {
 public:
  enum class Fate {
    kNone,       // handed on
    kDropReply,  // executed; the caller hears UNAVAILABLE
    kDuplicate,  // executed twice in a row; the caller hears the second reply
  };
  struct Reply {
    Code code = Code::kOk;
    std::string body;  // the message's bytes, or an error's text
    bool operator==(const Reply&) const = default;
  };
  struct Call {
    std::string method;  // without the service's name
    std::string request;
    Reply reply;  // of the last time it was handed on
  };

  explicit CallProxy(const std::string& upstream);
  ~CallProxy();

  const std::string& address() const;
  // Where calls go from now on.
  void SetUpstream(const std::string& address);
  // What happens to the next call of any method, once; `after` runs when it has been executed and
  // before it is answered.
  void SetFate(Fate fate, std::function<void()> after);
  std::vector<Call> calls() const;
  // Hands a call on that was made before; not while one is under way.
  Reply Replay(const Call& call);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::testing
