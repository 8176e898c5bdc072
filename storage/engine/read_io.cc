#include "storage/engine/read_io.h"

#include <algorithm>
#include <cstring>

#include "common/crc32c.h"
#include "storage/engine/payload_crc.h"

namespace sheaf::storage {

ReadIo::ReadIo(SlabSpace& space, ReadErrors& errors, IoContext& io, const Engine::ChunkKey& key,
               RecordRef record, ReadPins::Pin pin, Engine::ReadDone done)
    : space_(space),
      errors_(errors),
      io_(io),
      key_(key),
      record_(std::move(record)),
      pin_(std::move(pin)),
      done_(std::move(done)) {}

void ReadIo::Start(uint32_t offset, uint32_t length) {
  const uint32_t chunk_length = record_ != nullptr ? record_->length : 0;
  begin_ = std::min(offset, chunk_length);
  end_ = begin_ + std::min(length, chunk_length - begin_);
  if (begin_ == end_) {
    AnswerLater(Status::Ok());
    return;
  }
  first_unit_ = begin_ / kUnitBytes;
  end_unit_ = (end_ + kUnitBytes - 1) / kUnitBytes;
  buffer_ = io_.Allocate((end_unit_ - first_unit_) * kUnitBytes);
  if (buffer_ == nullptr) {
    AnswerLater(Status(Code::kBusy, "read chunk " + ToString(key_) + ": no buffer is free"));
    return;
  }
  StartTransfers();
  if (pending_ > 0) return;
  pending_ = 1;  // holes only
  io_.Post([self = shared_from_this()] { self->Transferred(Status::Ok()); });
}

void ReadIo::AnswerLater(const Status& status) {
  io_.Post([self = shared_from_this(), status] { self->Answer(status); });
}

void ReadIo::StartTransfers() {
  const auto bytes = buffer_->span();
  const uint32_t blocks_per_slab = space_.allocator().blocks_per_slab();
  for (uint32_t unit = first_unit_; unit < end_unit_;) {
    const BlockNumber block = record_->BlockAt(unit / kUnitsPerBlock);
    uint32_t logical = unit / kUnitsPerBlock + 1;  // one past the run
    if (block == kNoBlock) {
      while (logical * kUnitsPerBlock < end_unit_ && record_->BlockAt(logical) == kNoBlock) {
        ++logical;
      }
    } else {
      for (BlockNumber next = block + 1;
           logical * kUnitsPerBlock < end_unit_ && record_->BlockAt(logical) == next &&
           next % blocks_per_slab != 0;
           ++next) {
        ++logical;
      }
    }
    const uint32_t end = std::min(logical * kUnitsPerBlock, end_unit_);
    const auto part =
        bytes.subspan(size_t{unit - first_unit_} * kUnitBytes, size_t{end - unit} * kUnitBytes);
    if (block == kNoBlock) {
      std::memset(part.data(), 0, part.size());
    } else {
      auto place = space_.Locate(block);
      place.offset += unit % kUnitsPerBlock * kUnitBytes;
      ++pending_;
      Transfer(place, part, /*again=*/false);
    }
    unit = end;
  }
}

// ReadErrors says what a refused read means.
void ReadIo::Transfer(const SlabSpace::Place& place, std::span<uint8_t> into, bool again) {
  io_.Read(place.file, place.offset, buffer_, into,
           [self = shared_from_this(), place, into, again](const Status& status) {
             if (status.code() != Code::kIo) return self->Transferred(status);
             if (!again) return self->Transfer(place, into, /*again=*/true);
             self->errors_.Note(place, status);
             self->Transferred(status.With("slab " + std::to_string(place.slab) + ", offset " +
                                           std::to_string(place.offset)));
           });
}

void ReadIo::Transferred(const Status& status) {
  if (status_.ok() && !status.ok()) status_ = status.With("read chunk " + ToString(key_));
  if (--pending_ > 0) return;
  pin_.Reset();  // the bytes are in memory
  if (status_.ok()) status_ = Verify();
  Answer(status_);
}

Status ReadIo::Verify() {
  RangeCrc crc;
  for (uint32_t unit = first_unit_; unit < end_unit_; ++unit) {
    const auto bytes = buffer_->span().subspan(size_t{unit - first_unit_} * kUnitBytes, kUnitBytes);
    const uint32_t want = record_->UnitCrc(unit);
    const BlockNumber block = record_->BlockAt(unit / kUnitsPerBlock);
    if (block != kNoBlock) {
      const uint32_t got = Crc32c(bytes);
      if (got != want) {
        return ChecksumMismatch("read chunk " + ToString(key_), space_.Locate(block),
                                unit % kUnitsPerBlock * kUnitBytes, want, got);
      }
    }
    const uint32_t start = unit * kUnitBytes;
    crc.Add(bytes, want, std::max(begin_, start) - start,
            std::min(end_, start + kUnitBytes) - start);
  }
  crc32c_ = crc.value();
  return Status::Ok();
}

void ReadIo::Answer(const Status& status) {
  pin_.Reset();
  if (!status.ok()) {
    done_(status);
    return;
  }
  Engine::ReadAnswer answer;
  answer.state = StateOf(record_.get());
  answer.crc32c = crc32c_;
  if (buffer_ != nullptr) {
    answer.bytes = buffer_->span().subspan(begin_ - first_unit_ * kUnitBytes, end_ - begin_);
    answer.buffer = std::move(buffer_);
  }
  done_(std::move(answer));
}

}  // namespace sheaf::storage
