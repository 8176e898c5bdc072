#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "common/transport/connection.h"
#include "proto/meta.pb.h"

namespace sheaf::testing {

// A client session by hand: it says what it is told to say and is never renewed.
// Not thread-safe.
class RawSession {
 public:
  // Opens a session at the metadata service.
  explicit RawSession(const std::string& meta_address);
  ~RawSession();

  uint64_t incarnation() const { return incarnation_; }
  // Creates a file of the root and leaves it open for writing.
  Result<proto::Attr> Create(const std::string& name);
  Result<uint64_t> ReserveAppend(const proto::Attr& file, uint64_t bytes);
  // Writes into the file's first chunk, on the head of its chain, under this name; again while the
  // answer is that it may be tried again.
  Status Write(const proto::Attr& file, uint32_t offset, const std::string& bytes, uint32_t stream,
               uint64_t sequence);

 private:
  struct Stubs;
  proto::Context NextContext();
  Status WriteOnce(const proto::Attr& file, uint32_t offset, const std::string& bytes,
                   uint32_t stream, uint64_t sequence);

  std::unique_ptr<Stubs> stubs_;
  transport::ConnectionPool pool_;
  uint64_t incarnation_ = 0;
  uint64_t request_ = 0;
};

}  // namespace sheaf::testing
