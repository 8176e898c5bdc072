#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "common/ids.h"
#include "storage/replica/stream_table.h"
#include "tests/sim/chunk_image.h"
#include "tests/sim/scheduler.h"

namespace sheaf::sim {

// One thing that a client did to one chunk, or read of it.
struct Operation {
  enum class Kind : uint8_t { kRead, kWrite, kTruncate, kRemove };
  enum class Outcome : uint8_t {
    kUnknown,  // it may take effect at any time until `end`, or never
    kDone,
    kNever,  // it was refused, and must not have any effect
  };

  Kind kind = Kind::kRead;
  Outcome outcome = Outcome::kUnknown;
  uint32_t chain = 0;
  uint32_t chunk = 0;
  uint32_t offset = 0;  // of a write
  uint32_t length = 0;
  bool extend = false;
  uint16_t tag = 0;  // of a write: another one for each
  Content seen;      // by a read
  Time begin = 0;
  Time end = kForever;
  storage::StreamTable::Name name;
  uint32_t client = 0;

  std::string ToString() const;
};

// What clients did and saw, and whether one order of it explains all: each operation at one time
// between its begin and its end.
class History {
 public:
  // The index, by which to find it again.
  size_t Add(Operation operation);
  Operation& At(size_t index) { return operations_[index]; }
  size_t size() const { return operations_.size(); }

  // A mutation that came after it on its stream is done: whatever is unknown of the earlier ones
  // has happened by now, or never will.
  void StreamWentOn(const storage::StreamTable::Name& name, uint32_t chain, Time now);
  // Nothing of the session happens any more.
  void Fenced(Incarnation session, Time now);

  struct Verdict {
    std::string failure;     // empty: none
    uint64_t undecided = 0;  // chunks whose history took too long to explain
  };
  Verdict Check() const;

 private:
  struct Stream {
    uint64_t done = 0;  // the sequence
    Time when = 0;
    std::vector<size_t> open;  // operations of sequences that may still happen
  };
  using StreamKey = std::tuple<uint32_t, Incarnation, uint32_t>;  // chain, session, stream

  std::vector<Operation> operations_;
  std::map<StreamKey, Stream> streams_;
};

}  // namespace sheaf::sim
