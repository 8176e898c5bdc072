#include "tests/sim/sim_client.h"

#include <algorithm>
#include <utility>

#include "tests/sim/sim_manager.h"
#include "tests/sim/sim_node.h"

namespace sheaf::sim {
namespace {

constexpr Time kAttemptDeadline = 250 * kMillisecond;
constexpr Time kMapDeadline = 60 * kMillisecond;
constexpr uint32_t kReadAttempts = 4;

}  // namespace

SimClient::SimClient(World& world, Actor& actor, uint32_t id)
    : world_(world),
      actor_(actor),
      id_(id),
      random_(world.random().Fork()),
      zombie_(random_.Percent(world.schedule().zombie_percent)),
      session_(world.manager().OpenSession()),
      map_(world.manager().map()) {
  for (uint32_t i = 0; i < world.schedule().streams; ++i) {
    streams_.push_back({i + 1, 0, false});
    After(Think(), [this, i] { NextMutation(i); });
  }
  After(Think(), [this] { NextRead(); });
}

bool SimClient::idle() const {
  return !reading_ && std::none_of(streams_.begin(), streams_.end(),
                                   [](const Stream& stream) { return stream.busy; });
}

void SimClient::After(Time delay, Action action) {
  world_.scheduler().At(world_.now() + delay, actor_, actor_.life, std::move(action));
}

Time SimClient::Think() { return random_.Between(0, 2 * world_.schedule().think); }

const proto::Chain* SimClient::FindChain(uint32_t chain) const {
  for (const proto::Chain& each : map_->chains())
    if (each.id() == chain) return &each;
  return nullptr;
}

void SimClient::RefreshMap(Action then) {
  world_.network().Call<MapRef>(
      actor_, world_.manager().actor(), kMapDeadline,
      [this, known = map_->version()](const auto& reply) {
        world_.manager().OnGetMap(known, reply);
      },
      [this, then = std::move(then)](const Result<MapRef>& map) {
        if (map.ok() && *map && (*map)->version() > map_->version()) map_ = *map;
        then();
      });
}

// ---- mutations ----

void SimClient::NextMutation(size_t stream) {
  if (world_.calm()) return;
  streams_[stream].busy = true;
  Send(DrawMutation(stream));
}

SimClient::MutationRef SimClient::DrawMutation(size_t index) {
  Stream& stream = streams_[index];
  auto mutation = std::make_shared<Mutation>();
  mutation->session = session_;
  mutation->stream = index;
  mutation->patience = random_.Percent(15) ? 1 : static_cast<uint32_t>(random_.Between(2, 12));
  const Schedule& schedule = world_.schedule();
  const uint32_t chain = 1 + static_cast<uint32_t>(random_.Below(schedule.chains.size()));
  MutateRequest& request = mutation->request;
  request.admission.chain = ChainId(chain);
  request.admission.incarnation = session_;
  request.admission.access = storage::Access::kMutate;
  ChainOp& op = request.op;
  op.name = {session_, stream.number, ++stream.sequence};
  op.chunk = {DataId(7), static_cast<uint32_t>(random_.Below(schedule.chunks))};
  const uint64_t dice = random_.Below(100);
  if (dice < 76) {
    op.kind = ChainOp::Kind::kWrite;
    op.offset = static_cast<uint32_t>(random_.Below(Content::kCells));
    op.length = 1 + static_cast<uint32_t>(random_.Below(Content::kCells - op.offset));
    op.crc32c = world_.NextTag();  // what the bytes are
  } else if (dice < 86) {
    op.kind = ChainOp::Kind::kTruncate;
    op.length = static_cast<uint32_t>(random_.Below(Content::kCells + 1));
    op.extend = random_.Percent(50);
  } else if (dice < 90) {
    op.kind = ChainOp::Kind::kRemove;
  } else {
    op.kind = ChainOp::Kind::kNote;
    op.chunk = {};
    request.group = true;
    const uint32_t first = static_cast<uint32_t>(random_.Below(schedule.chunks));
    for (uint32_t chunk = first; chunk < schedule.chunks; ++chunk)
      request.removes.push_back({DataId(7), chunk});
  }
  op.fingerprint = MixBits(op.name.sequence ^ MixBits(op.crc32c));
  if (!request.group) mutation->operations.push_back(AddOperation(*mutation, op.chunk));
  for (ChunkId chunk : request.removes)
    mutation->operations.push_back(AddOperation(*mutation, chunk));
  return mutation;
}

size_t SimClient::AddOperation(const Mutation& mutation, ChunkId chunk) {
  const ChainOp& op = mutation.request.op;
  Operation operation;
  switch (op.kind) {
    case ChainOp::Kind::kWrite:
      operation.kind = Operation::Kind::kWrite;
      break;
    case ChainOp::Kind::kTruncate:
      operation.kind = Operation::Kind::kTruncate;
      break;
    default:
      operation.kind = Operation::Kind::kRemove;
  }
  operation.chain = mutation.request.admission.chain.value();
  operation.chunk = chunk.index;
  operation.offset = op.offset;
  operation.length = op.length;
  operation.extend = op.extend;
  operation.tag = static_cast<uint16_t>(op.crc32c);
  operation.begin = world_.now();
  operation.name = op.name;
  operation.client = id_;
  return world_.history().Add(operation);
}

// A group is done once, but not in one step: one that was interrupted begins anew when it is asked
// for again, and removes what has been written since.
void SimClient::AddRepetition(const Mutation& mutation) {
  for (ChunkId chunk : mutation.request.removes) AddOperation(mutation, chunk);
}

void SimClient::Send(const MutationRef& mutation) {
  MutateRequest& request = mutation->request;
  const proto::Chain* chain = FindChain(request.admission.chain.value());
  ++mutation->attempts;
  if (chain == nullptr || chain->members(0).state() != proto::SERVING)
    return OnAnswer(mutation, Status(Code::kNotServing, "client: no head"));
  if (mutation->attempts > 1) AddRepetition(*mutation);
  request.admission.chain_version = ChainVersion(chain->version());
  SimNode& head = world_.node(chain->members(0).target_id());
  if (world_.verbose()) {
    const size_t first = mutation->operations.empty() ? 0 : mutation->operations[0];
    world_.Trace("client {} sends {} attempt {} to node {} (version {})", id_,
                 world_.history().At(first).ToString(), mutation->attempts, head.id(),
                 chain->version());
  }
  world_.network().Call<MutateAnswer>(
      actor_, head.actor(), kAttemptDeadline,
      [&head, request](const auto& reply) { head.OnMutate(request, reply); },
      [this, mutation](const auto& answer) { OnAnswer(mutation, answer); });
}

void SimClient::OnAnswer(const MutationRef& mutation, const Result<MutateAnswer>& answer) {
  if (world_.verbose())
    world_.Trace("client {} is answered {} for {}.{}.{}", id_, answer.status().ToString(),
                 mutation->session.value(), mutation->stream + 1,
                 mutation->request.op.name.sequence);
  if (answer.ok()) return End(mutation, Operation::Outcome::kDone);
  const Status status = answer.status();
  switch (status.code()) {
    case Code::kFenced:
      if (!zombie_ || random_.Percent(30)) {
        End(mutation, Operation::Outcome::kUnknown);
        return StartSession();
      }
      break;
    case Code::kNoSpace:
    case Code::kCorrupt:
    case Code::kIo:
      return End(mutation, Operation::Outcome::kUnknown);
    case Code::kCancelled:
    case Code::kInvalid:
      if (world_.manager().durable().fenced().empty())
        world_.Fail(fmt::format("client {}: its newest mutation of a stream is refused: {}", id_,
                                status.ToString()));
      return End(mutation, Operation::Outcome::kUnknown);
    default:
      break;
  }
  if (mutation->attempts >= mutation->patience && !world_.calm())
    return End(mutation, Operation::Outcome::kUnknown);
  const auto again = [this, mutation] {
    After(random_.Between(kMillisecond, 30 * kMillisecond), [this, mutation] { Send(mutation); });
  };
  // Now and then it goes on with the map it has.
  if (status.retry() == Retry::kSame && random_.Percent(50)) return again();
  if (random_.Percent(10)) return again();
  RefreshMap(again);
}

void SimClient::End(const MutationRef& mutation, Operation::Outcome outcome) {
  const ChainOp& op = mutation->request.op;
  for (size_t index : mutation->operations) {
    Operation& operation = world_.history().At(index);
    operation.outcome = outcome;
    if (outcome == Operation::Outcome::kDone) operation.end = std::min(operation.end, world_.now());
  }
  if (outcome == Operation::Outcome::kDone)
    world_.history().StreamWentOn(op.name, mutation->request.admission.chain.value(), world_.now());
  mutation->done = outcome == Operation::Outcome::kDone;
  if (random_.Percent(mutation->done ? 15 : 40)) SendLateCopy(mutation);
  streams_[mutation->stream].busy = false;
  After(Think(), [this, stream = mutation->stream] { NextMutation(stream); });
}

void SimClient::SendLateCopy(const MutationRef& mutation) {
  const Time delay =
      random_.Between(kMillisecond, random_.Percent(50) ? kSecond : 50 * kMillisecond);
  After(delay, [this, mutation] {
    if (world_.calm()) return;
    MutateRequest request = mutation->request;
    for (const proto::Chain& chain : world_.manager().map()->chains()) {
      if (chain.id() != request.admission.chain.value()) continue;
      if (!mutation->done) AddRepetition(*mutation);
      request.admission.chain_version = ChainVersion(chain.version());
      SimNode& head = world_.node(chain.members(0).target_id());
      world_.Trace("client {} sends a late copy of {}.{}.{} to node {}", id_,
                   mutation->session.value(), mutation->stream + 1, request.op.name.sequence,
                   head.id());
      world_.network().Call<MutateAnswer>(
          actor_, head.actor(), kAttemptDeadline,
          [&head, request](const auto& reply) { head.OnMutate(request, reply); },
          [](const auto&) {});
    }
  });
}

void SimClient::StartSession() {
  world_.manager().EndSession(session_);
  session_ = world_.manager().OpenSession();
  for (Stream& stream : streams_) stream.sequence = 0;
}

// ---- reads ----

void SimClient::NextRead() {
  if (world_.calm()) return;
  reading_ = true;
  auto reading = std::make_shared<Reading>();
  const uint32_t chain = 1 + static_cast<uint32_t>(random_.Below(world_.schedule().chains.size()));
  reading->request.admission.chain = ChainId(chain);
  reading->request.chunk = {DataId(7),
                            static_cast<uint32_t>(random_.Below(world_.schedule().chunks))};
  Operation operation;
  operation.kind = Operation::Kind::kRead;
  operation.chain = chain;
  operation.chunk = reading->request.chunk.index;
  operation.begin = world_.now();
  operation.client = id_;
  reading->operation = world_.history().Add(operation);
  SendRead(reading);
}

void SimClient::SendRead(const ReadingRef& reading) {
  storage::AdmissionRequest& admission = reading->request.admission;
  const proto::Chain* chain = FindChain(admission.chain.value());
  std::vector<uint32_t> serving;
  if (chain != nullptr) {
    admission.chain_version = ChainVersion(chain->version());
    for (const proto::ChainMember& member : chain->members())
      if (member.state() == proto::SERVING) serving.push_back(member.target_id());
  }
  ++reading->attempts;
  if (serving.empty()) return OnRead(reading, Status(Code::kNotServing, "client: nobody serves"));
  SimNode& node = world_.node(serving[random_.Below(serving.size())]);
  world_.network().Call<Image>(
      actor_, node.actor(), kAttemptDeadline,
      [&node, request = reading->request](const auto& reply) { node.OnRead(request, reply); },
      [this, reading, from = node.id()](const Result<Image>& answer) {
        if (answer.ok() && world_.verbose())
          world_.Trace("client {} read chunk {}.{} of node {}: {} (version {})", id_,
                       reading->request.admission.chain.value(), reading->request.chunk.index, from,
                       answer->content.ToString(), answer->version.value());
        OnRead(reading, answer);
      });
}

void SimClient::OnRead(const ReadingRef& reading, const Result<Image>& answer) {
  if (!answer.ok() && reading->attempts < kReadAttempts) {
    const auto again = [this, reading] { SendRead(reading); };
    if (random_.Percent(30)) return After(kMillisecond, again);
    return RefreshMap(again);
  }
  if (answer.ok()) {
    Operation& operation = world_.history().At(reading->operation);
    operation.outcome = Operation::Outcome::kDone;
    operation.seen = answer->content;
    operation.end = world_.now();
  }
  reading_ = false;
  After(Think(), [this] { NextRead(); });
}

}  // namespace sheaf::sim
