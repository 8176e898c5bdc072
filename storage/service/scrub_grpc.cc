#include "storage/service/scrub_grpc.h"

#include "common/rpc.h"

namespace sheaf::storage {
namespace {

void Fill(const Scrubber::Progress& progress, proto::TargetScrub* into) {
  into->set_running(progress.running);
  into->set_passes(progress.passes);
  into->set_chunks(progress.chunks);
  into->set_bytes(progress.bytes);
  into->set_pass_began_ns(progress.began_ns);
  into->set_last_pass_ended_ns(progress.ended_ns);
  into->set_bad_chunks(progress.bad_count);
  into->set_repaired_chunks(progress.repaired);
  for (const Scrubber::BadChunk& bad : progress.bad) {
    proto::BadChunk* entry = into->add_bad();
    entry->set_chain(bad.key.chain.value());
    entry->set_data_id(bad.key.chunk.data_id.value());
    entry->set_index(bad.key.chunk.index);
    entry->set_error(bad.status.message());
    entry->set_found_ns(bad.found_ns);
  }
}

}  // namespace

grpc::ServerUnaryReactor* ScrubGrpc::GetScrub(grpc::CallbackServerContext* context,
                                              const proto::GetScrubRequest*,
                                              proto::GetScrubResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const Status admitted = AdmitCall(*context);
  if (admitted.ok()) {
    response->set_mib_per_s(mib_per_s_);
    for (size_t i = 0; i < targets_.size(); ++i) {
      proto::TargetScrub* entry = response->add_targets();
      entry->set_target_uuid(targets_[i].uuid);
      entry->set_target_id(replicas_.TargetIdOf(i).value());
      entry->set_used_bytes(targets_[i].engine->GetSpace().used_bytes);
      Fill(targets_[i].scrubber->GetProgress(/*with_bad=*/true), entry);
    }
  }
  reactor->Finish(ToGrpc(admitted));
  return reactor;
}

grpc::ServerUnaryReactor* ScrubGrpc::StartScrub(grpc::CallbackServerContext* context,
                                                const proto::StartScrubRequest* request,
                                                proto::StartScrubResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Status status = AdmitCall(*context);
  uint32_t started = 0;
  if (status.ok()) status = Start(request->target_uuid(), &started);
  response->set_started(started);
  reactor->Finish(ToGrpc(status));
  return reactor;
}

Status ScrubGrpc::Start(const std::string& uuid, uint32_t* started) {
  bool known = uuid.empty();
  for (const Target& target : targets_) {
    if (!uuid.empty() && target.uuid != uuid) continue;
    known = true;
    if (!target.scrubber->Start()) {
      return {Code::kUnsupported, "start scrub: it is off here; set scrub_mib_per_s"};
    }
    ++*started;
  }
  if (known) return Status::Ok();
  return {Code::kNotFound, "start scrub: no target " + uuid + " here"};
}

}  // namespace sheaf::storage
