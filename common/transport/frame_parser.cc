#include "common/transport/frame_parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sheaf::transport {

FrameParser::FrameParser(const FrameLimits& limits, size_t staging_bytes)
    : limits_(limits), staging_bytes_(staging_bytes) {
  CHECK(staging_bytes >= kHeaderSize);
}

std::span<const iovec> FrameParser::Space() {
  part_count_ = 0;
  direct_offered_ = direct_.size();
  if (state_ == State::kFailed || state_ == State::kChoice) return {};
  if (!staging_) staging_ = std::make_unique_for_overwrite<uint8_t[]>(staging_bytes_);
  if (!direct_.empty()) {
    parts_[part_count_++] = {direct_.data(), direct_.size()};
    // The start of a following frame comes along; bytes of its payload would have to be copied, so
    // beside a large part only little is asked for.
    StageTail(direct_.size() < kStagingBytes ? staging_bytes_ : kTailBytes);
  } else {
    StageTail(staging_bytes_);
  }
  return {parts_.data(), part_count_};
}

void FrameParser::StageTail(size_t limit) {
  Compact();
  parts_[part_count_++] = {staging_.get() + end_, std::min(limit, staging_bytes_ - end_)};
}

// Moves a frame begun at the end of staging_ to its front: at most one a receive, and less than
// half of what staging_ holds unless it is needed to go on.
void FrameParser::Compact() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    return;
  }
  const size_t wanted = state_ == State::kMessage ? header_.message_length : kHeaderSize;
  if (begin_ + wanted <= staging_bytes_ && staging_bytes_ - end_ >= staging_bytes_ / 2) return;
  std::memmove(staging_.get(), staging_.get() + begin_, staged());
  end_ -= begin_;
  begin_ = 0;
}

void FrameParser::Received(size_t bytes) {
  size_t offered = 0;
  for (size_t i = 0; i < part_count_; ++i) offered += parts_[i].iov_len;
  CHECK(bytes <= offered, "more bytes received than there was space");
  const size_t direct = std::min(bytes, direct_offered_);
  direct_ = direct_.subspan(direct);
  end_ += bytes - direct;
  part_count_ = 0;
  direct_offered_ = 0;
}

FrameParser::Event FrameParser::Next() {
  for (;;) {
    Event event = Event::kNeedBytes;
    switch (state_) {
      case State::kHeader:
        if (staged() < kHeaderSize) return Event::kNeedBytes;
        event = ParseHeader();
        break;
      case State::kMessage:
        return ParseMessage();
      case State::kChoice:
        CHECK(false, "the payload's destination is not chosen");
        break;
      case State::kPayload:
        return ParsePayload();
      case State::kDiscard:
        event = ParseDiscarded();
        if (state_ == State::kDiscard) return event;
        break;
      case State::kFailed:
        return Event::kError;
    }
    if (event == Event::kError) return event;
  }
}

FrameParser::Event FrameParser::ParseHeader() {
  message_ = {};
  large_message_.reset();
  auto header = DecodeHeader(
      std::span<const uint8_t, kHeaderSize>(staging_.get() + begin_, kHeaderSize), limits_);
  if (!header.ok()) return Fail(header.status());
  header_ = *header;
  begin_ += kHeaderSize;
  state_ = State::kMessage;
  if (header_.message_length <= staging_bytes_) return Event::kNeedBytes;

  // Its length is within the limits (DecodeHeader), so memory may be taken.
  large_message_ = std::make_unique_for_overwrite<uint8_t[]>(header_.message_length);
  const size_t here = staged();
  std::memcpy(large_message_.get(), staging_.get() + begin_, here);
  begin_ = end_ = 0;
  direct_ = {large_message_.get() + here, header_.message_length - here};
  return Event::kNeedBytes;
}

FrameParser::Event FrameParser::ParseMessage() {
  if (large_message_) {
    if (!direct_.empty()) return Event::kNeedBytes;
    message_ = {large_message_.get(), header_.message_length};
  } else {
    if (staged() < header_.message_length) return Event::kNeedBytes;
    message_ = {staging_.get() + begin_, header_.message_length};
    begin_ += header_.message_length;
  }
  state_ = header_.payload_length > 0 ? State::kChoice : State::kHeader;
  return Event::kMessage;
}

void FrameParser::ReceivePayload(std::span<uint8_t> into) {
  CHECK(state_ == State::kChoice, "no payload waits for a destination");
  CHECK(into.size() >= header_.payload_length, "destination shorter than the payload");
  const size_t here = std::min<size_t>(staged(), header_.payload_length);
  std::memcpy(into.data(), staging_.get() + begin_, here);
  begin_ += here;
  direct_ = into.subspan(here, header_.payload_length - here);
  state_ = State::kPayload;
}

FrameParser::Event FrameParser::ParsePayload() {
  if (!direct_.empty()) return Event::kNeedBytes;
  state_ = State::kHeader;
  return Event::kPayload;
}

void FrameParser::DiscardPayload() {
  CHECK(state_ == State::kChoice || state_ == State::kPayload, "no payload to discard");
  CHECK(part_count_ == 0, "a receive is under way");
  discard_left_ = state_ == State::kChoice ? header_.payload_length : direct_.size();
  direct_ = {};
  state_ = State::kDiscard;
}

FrameParser::Event FrameParser::ParseDiscarded() {
  const size_t here = std::min(staged(), discard_left_);
  begin_ += here;
  discard_left_ -= here;
  if (discard_left_ == 0) state_ = State::kHeader;
  return Event::kNeedBytes;
}

FrameParser::Event FrameParser::Fail(Status status) {
  status_ = std::move(status);
  state_ = State::kFailed;
  direct_ = {};
  return Event::kError;
}

}  // namespace sheaf::transport
