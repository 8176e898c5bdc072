#include "client/meta/meta_client.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <thread>
#include <type_traits>

#include "client/meta/backoff.h"
#include "client/meta/meta_frames.h"
#include "common/log.h"
#include "common/rpc.h"
#include "proto/meta.grpc.pb.h"

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

// A try ends well before the whole wait, so that a service that hangs is asked again.
constexpr int kTriesInTimeout = 3;

void FillCaller(const Credentials& who, proto::Context& context) {
  context.mutable_caller()->set_uid(who.uid);
  context.mutable_caller()->set_gid(who.gid);
  for (uint32_t group : who.groups) context.mutable_caller()->add_groups(group);
}

// A request id, outstanding until the end of the scope.
class OutstandingRequest {
 public:
  OutstandingRequest() = default;
  OutstandingRequest(const OutstandingRequest&) = delete;
  OutstandingRequest& operator=(const OutstandingRequest&) = delete;
  ~OutstandingRequest() { End(); }

  void Begin(std::shared_ptr<RequestLedger> ledger) {
    End();
    ledger_ = std::move(ledger);
    sequence_ = ledger_->Begin();
  }
  Incarnation incarnation() const { return ledger_->incarnation(); }
  void FillIn(proto::RequestId& id) const {
    id.set_incarnation(ledger_->incarnation().value());
    id.set_sequence(sequence_);
    id.set_lowest_outstanding(ledger_->Lowest());
  }

 private:
  void End() {
    if (ledger_ != nullptr) ledger_->End(sequence_);
  }
  std::shared_ptr<RequestLedger> ledger_;
  uint64_t sequence_ = 0;
};

bool MayPass(const Status& status) {
  return status.retry() != Retry::kNever || status.code() == Code::kDeadline;
}

// Nothing was executed for sure.
bool SurelyRefused(const Status& status) {
  return status.code() == Code::kBusy || status.code() == Code::kNotServing;
}

#define SHEAF_COUNTED_CALLS(X) SHEAF_META_CALLS(X) X(Close, AttrResponse, kOfSession)

enum class CallNumber : size_t {
#define X(name, response, kind) k##name,
  SHEAF_COUNTED_CALLS(X)
#undef X
      kCount
};

// "SetXattr" as "setxattr": as the metadata service names the call in its own metrics.
std::string LowerCase(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

// Calls, errors, retries and latency, by call.
class CallMetrics {
 public:
  explicit CallMetrics(Metrics& metrics) {
#define X(name, response, kind) Add(metrics, CallNumber::k##name, LowerCase(#name));
    SHEAF_COUNTED_CALLS(X)
#undef X
  }

  void CountEnd(CallNumber call, bool ok, double seconds) {
    const Series& series = series_[static_cast<size_t>(call)];
    series.calls->Add();
    if (!ok) series.errors->Add();
    series.latency->Observe(seconds);
  }
  void CountRetry(CallNumber call) { series_[static_cast<size_t>(call)].retries->Add(); }

 private:
  struct Series {
    Metrics::Counter* calls = nullptr;
    Metrics::Counter* errors = nullptr;
    Metrics::Counter* retries = nullptr;
    Metrics::Histogram* latency = nullptr;
  };

  void Add(Metrics& metrics, CallNumber call, const std::string& name) {
    const Metrics::Labels labels = {{"call", name}};
    series_[static_cast<size_t>(call)] = {
        &metrics.AddCounter("sheaf_client_meta_calls_total", "Metadata calls ended", labels),
        &metrics.AddCounter("sheaf_client_meta_call_errors_total",
                            "Metadata calls that ended with an error, ENOENT and its like included",
                            labels),
        &metrics.AddCounter("sheaf_client_meta_call_retries_total",
                            "Tries of metadata calls that failed and were repeated", labels),
        &metrics.AddLatency("sheaf_client_meta_call_seconds",
                            "A metadata call with its waits and retries", labels)};
  }

  std::array<Series, static_cast<size_t>(CallNumber::kCount)> series_;
};

template <typename Request>
CallKind KindOf(const Request& request, CallKind kind) {
  if constexpr (std::is_same_v<Request, proto::OpenRequest>) {
    if ((request.flags() & O_TRUNC) != 0) return CallKind::kMutation;
  }
  if constexpr (std::is_same_v<Request, proto::BatchRequest>) {
    const auto is_lookup = [](const proto::BatchOperation& entry) {
      return entry.has_lookup() || entry.has_get_attr();
    };
    const auto is_close = [](const proto::BatchOperation& entry) { return entry.has_close(); };
    const auto& entries = request.operations();
    if (std::all_of(entries.begin(), entries.end(), is_lookup)) return CallKind::kRead;
    if (std::any_of(entries.begin(), entries.end(), is_close)) return CallKind::kOfSession;
  }
  return kind;
}

}  // namespace

struct MetaClient::Impl {
  std::string address;
  milliseconds timeout;
  Session& session;
  MetaFrames frames;
  std::unique_ptr<proto::Meta::Stub> stub;
  std::unique_ptr<CallMetrics> metrics;  // null: not counted
  std::atomic<int64_t> last_logged_s = -1;

  // A call on either plane.
  template <typename Request, typename Response>
  struct Method {
    transport::Method framed;
    grpc::Status (proto::Meta::Stub::*stub)(grpc::ClientContext*, const Request&, Response*);
  };

  template <typename Request, typename Response>
  Result<Response> Call(CallNumber number, const char* name, const Method<Request, Response>& method,
                        CallKind kind, const Credentials& who, Request& request) {
    const SteadyTime begin = std::chrono::steady_clock::now();
    Result<Response> result = Repeat(number, name, method, kind, who, request);
    if (metrics != nullptr) {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      metrics->CountEnd(number, result.ok(), took.count());
    }
    return result;
  }

  template <typename Request, typename Response>
  Result<Response> Repeat(CallNumber number, const char* name, const Method<Request, Response>& method,
                          CallKind kind, const Credentials& who, Request& request) {
    const SteadyTime deadline = std::chrono::steady_clock::now() + timeout;
    kind = KindOf(request, kind);
    const Incarnation bound(request.ctx().request().incarnation());
    FillCaller(who, *request.mutable_ctx());
    OutstandingRequest id;
    if (kind != CallKind::kRead) id.Begin(session.ledger());
    Backoff backoff(deadline);
    if (bound.value() != 0 && kind == CallKind::kOfSession && bound != id.incarnation()) {
      return SessionOver(name, bound);
    }
    bool maybe_executed = false;
    for (;;) {
      if (kind != CallKind::kRead) id.FillIn(*request.mutable_ctx()->mutable_request());
      Response response;
      Status status = TryOnce(method, request, response, deadline);
      if (status.ok()) return response;
      if (status.code() == Code::kNoSession && kind != CallKind::kRead) {
        if (kind == CallKind::kOfSession) return SessionOver(name, id.incarnation());
        if (maybe_executed && kind == CallKind::kMutation) return Unknown(name, status);
        status = session.Replace(id.incarnation());
        id.Begin(session.ledger());
        maybe_executed = false;
        if (!status.ok() && !MayPass(status)) return status.With(name);
      } else {
        if (!MayPass(status)) return status;
        maybe_executed |= !SurelyRefused(status);
      }
      if (!backoff.Wait()) return GaveUp(name, status);
      if (metrics != nullptr) metrics->CountRetry(number);
    }
  }

  template <typename Request, typename Response>
  Status TryOnce(const Method<Request, Response>& method, const Request& request, Response& response,
                 SteadyTime deadline) {
    const auto wait = std::min<std::chrono::nanoseconds>(
        deadline - std::chrono::steady_clock::now(), timeout / kTriesInTimeout);
    if (const auto connection = frames.Get(*session.frames())) {
      return TryFramed(*connection, method.framed, request, response, wait);
    }
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + wait);
    const grpc::Status status = (stub.get()->*method.stub)(&context, request, &response);
    return status.ok() ? Status::Ok() : FromGrpc(status);
  }

  static Status TryFramed(transport::Connection& connection, transport::Method method,
                          const google::protobuf::MessageLite& request,
                          google::protobuf::MessageLite& response, std::chrono::nanoseconds wait) {
    ASSIGN_OR_RETURN(const transport::Reply reply,
                     connection.Run({.method = method,
                                     .message = request.SerializeAsString(),
                                     .deadline = Clock::System().Now() + wait}));
    if (response.ParseFromString(reply.message)) return Status::Ok();
    return {Code::kProtocol, "call: its answer is not readable"};
  }

  Status SessionOver(const char* name, Incarnation ended) const {
    return Status(Code::kNoSession, std::string(name) + " at " + address + ": session " +
                                        ToString(ended) + " is over");
  }

  Status Unknown(const char* name, const Status& status) const {
    return Status(Code::kNoSession, std::string(name) + " at " + address +
                                        ": the session ended while the outcome was unknown (" +
                                        status.message() + ")");
  }

  Status GaveUp(const char* name, const Status& last) {
    const Status status(Code::kDeadline, std::string(name) + " at " + address +
                                             ": no success within " +
                                             std::to_string(timeout.count()) +
                                             " ms; the last: " + last.ToString());
    // A service that is gone fails many calls at once: one line a second says it.
    const int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(
                              std::chrono::steady_clock::now().time_since_epoch())
                              .count();
    if (last_logged_s.exchange(now_s) != now_s) LogError("client: {}", status.message());
    return status;
  }
};

MetaClient::MetaClient(const std::string& meta_address, milliseconds timeout, Session& session,
                       Metrics* metrics)
    : impl_(new Impl{
          .address = meta_address,
          .timeout = timeout,
          .session = session,
          .frames = MetaFrames(meta_address),
          .stub = proto::Meta::NewStub(MakeChannel(meta_address)),
          .metrics = metrics != nullptr ? std::make_unique<CallMetrics>(*metrics) : nullptr}) {}

MetaClient::~MetaClient() = default;

// The file's write-open went with the session; what was written is still to be reported.
Result<proto::AttrResponse> MetaClient::Close(const Credentials& who, proto::CloseRequest request) {
  auto closed = impl_->Call<proto::CloseRequest, proto::AttrResponse>(
      CallNumber::kClose, "Close", {transport::Method::kMetaClose, &proto::Meta::Stub::Close},
      CallKind::kOfSession, who, request);
  if (closed.status().code() != Code::kNoSession) return closed;
  proto::FsyncRequest report;
  report.set_inode(request.inode());
  if (request.has_report()) *report.mutable_report() = request.report();
  return Fsync(who, std::move(report));
}

#define X(name, response, kind)                                                                    \
  Result<proto::response> MetaClient::name(const Credentials& who, proto::name##Request request) { \
    return impl_->Call<proto::name##Request, proto::response>(                                     \
        CallNumber::k##name, #name,                                                                \
        {transport::Method::kMeta##name, &proto::Meta::Stub::name}, CallKind::kind, who, request); \
  }
SHEAF_META_CALLS(X)
#undef X

}  // namespace sheaf::client
