#pragma once

#include <memory>

#include "storage/engine/chunk_op.h"
#include "storage/engine/read_errors.h"
#include "storage/engine/read_pins.h"
#include "storage/engine/slab_space.h"

namespace sheaf::storage {

// One read of one version of a chunk: whole units from disk, neighbouring blocks in one transfer,
// every unit verified before a byte of it is answered.
//
// Runs on the thread of `io` only; answers there, once, after Start returned.
class ReadIo : public std::enable_shared_from_this<ReadIo> {
 public:
  // `pin` was taken before `record` was looked up (ReadPins).
  ReadIo(SlabSpace& space, ReadErrors& errors, IoContext& io, const Engine::ChunkKey& key,
         RecordRef record, ReadPins::Pin pin, Engine::ReadDone done);
  void Start(uint32_t offset, uint32_t length);

 private:
  void StartTransfers();
  void Transfer(const SlabSpace::Place& place, std::span<uint8_t> into, bool again);
  void Transferred(const Status& status);
  Status Verify();
  void Answer(const Status& status);
  void AnswerLater(const Status& status);

  SlabSpace& space_;
  ReadErrors& errors_;
  IoContext& io_;
  const Engine::ChunkKey key_;
  const RecordRef record_;  // null: the chunk does not exist
  ReadPins::Pin pin_;
  Engine::ReadDone done_;

  uint32_t begin_ = 0;  // bytes of the chunk that are answered
  uint32_t end_ = 0;
  uint32_t first_unit_ = 0;  // units that are read
  uint32_t end_unit_ = 0;
  BufferRef buffer_;
  uint32_t pending_ = 0;
  uint32_t crc32c_ = 0;
  Status status_;
};

}  // namespace sheaf::storage
