#include "common/transport/hello.h"

#include <algorithm>

namespace sheaf::transport {
namespace {

constexpr char kSoftware[] = "sheaf";

std::string EncodeFrame(FrameHeader header, const google::protobuf::MessageLite& message) {
  const std::string body = message.SerializeAsString();
  header.message_length = static_cast<uint32_t>(body.size());
  const auto bytes = EncodeHeader(header);
  std::string frame(bytes.begin(), bytes.end());
  return frame += body;
}

Result<proto::Hello> ParseHello(const FrameHeader& header, std::span<const uint8_t> message) {
  if (header.type != FrameType::kHello) {
    return Status(Code::kProtocol, "open connection: the first frame is not a hello (type " +
                                       std::to_string(static_cast<int>(header.type)) + ")");
  }
  proto::Hello hello;
  if (!hello.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return Status(Code::kProtocol, "open connection: unreadable hello (" +
                                       std::to_string(message.size()) + " bytes)");
  }
  return hello;
}

std::string Range(uint32_t low, uint32_t high) {
  return std::to_string(low) + ".." + std::to_string(high);
}

Result<Agreement> Agree(const proto::Hello& peer) {
  const uint32_t version = std::min(peer.protocol_max(), kProtocolMax);
  if (version < std::max(peer.protocol_min(), kProtocolMin)) {
    return Status(Code::kProtocol, "open connection: no common protocol version (peer has " +
                                       Range(peer.protocol_min(), peer.protocol_max()) +
                                       ", this side " + Range(kProtocolMin, kProtocolMax) + ")");
  }
  Agreement agreement;
  agreement.version = version;
  agreement.features = peer.features() & kFeatures;
  agreement.token = peer.token();
  agreement.software = peer.software();
  return agreement;
}

}  // namespace

proto::Hello MakeClientHello(std::string_view token) {
  proto::Hello hello;
  hello.set_protocol_min(kProtocolMin);
  hello.set_protocol_max(kProtocolMax);
  hello.set_features(kFeatures);
  hello.set_token(token.data(), token.size());
  hello.set_software(kSoftware);
  return hello;
}

proto::Hello MakeServerHello(const ServerTerms& terms) {
  proto::Hello hello = MakeClientHello();
  hello.set_request_credits(terms.request_credits);
  hello.set_byte_credits(terms.byte_credits);
  hello.set_max_payload(terms.max_payload);
  return hello;
}

std::string EncodeHello(const proto::Hello& hello) {
  return EncodeFrame({.type = FrameType::kHello}, hello);
}

Result<Agreement> AcceptClientHello(const FrameHeader& header, std::span<const uint8_t> message) {
  ASSIGN_OR_RETURN(proto::Hello hello, ParseHello(header, message));
  return Agree(hello);
}

Result<Agreement> AcceptServerHello(const FrameHeader& header, std::span<const uint8_t> message) {
  if (header.type == FrameType::kError) return DecodeError(message);
  ASSIGN_OR_RETURN(proto::Hello hello, ParseHello(header, message));
  ASSIGN_OR_RETURN(Agreement agreement, Agree(hello));
  if (hello.request_credits() == 0 || hello.byte_credits() == 0) {
    return Status(Code::kProtocol, "open connection: the server gives no credits (" +
                                       std::to_string(hello.request_credits()) + " requests, " +
                                       std::to_string(hello.byte_credits()) + " bytes)");
  }
  agreement.terms.request_credits = std::min(hello.request_credits(), kMaxRequestCredits);
  agreement.terms.byte_credits = hello.byte_credits();
  agreement.terms.max_payload = hello.max_payload();
  return agreement;
}

std::string EncodeError(uint64_t request_id, const Status& status) {
  proto::ErrorAnswer answer;
  answer.set_code(static_cast<uint32_t>(status.code()));
  answer.set_message(status.message());
  return EncodeFrame({.type = FrameType::kError, .request_id = request_id}, answer);
}

Status DecodeError(std::span<const uint8_t> message) {
  proto::ErrorAnswer answer;
  if (!answer.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return Status(Code::kProtocol, "decode error answer: unreadable message (" +
                                       std::to_string(message.size()) + " bytes)");
  }
  const Code code = CodeFromNumber(answer.code());
  if (code == Code::kOk) {
    return Status(Code::kProtocol, "decode error answer: an error with code ok");
  }
  return Status(code, answer.message());
}

}  // namespace sheaf::transport
