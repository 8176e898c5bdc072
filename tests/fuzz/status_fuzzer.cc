// Errors that come in a gRPC status and in an error frame: an error is never taken for success, and
// one of ours comes through as it was sent. And status text, which the command prints as tables.

#include "client/cli/status_table.h"
#include "common/rpc.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  const int code = input.TakeByte() % (grpc::StatusCode::UNAUTHENTICATED + 1);  // as gRPC sees to
  const std::string details(input.TakePiece());
  const std::string message(input.TakeRest());
  const grpc::Status sent(static_cast<grpc::StatusCode>(code), message, details);
  const sheaf::Status status = sheaf::FromGrpc(sent);
  CHECK(status.ok() == sent.ok(), "an error became success");
  if (!status.ok()) {
    const sheaf::Status again = sheaf::FromGrpc(sheaf::ToGrpc(status));
    CHECK(again == status && again.message() == status.message(), "a status changes on its way");
  }
  (void)sheaf::cli::StatusTable(message).ok();
  return 0;
}
