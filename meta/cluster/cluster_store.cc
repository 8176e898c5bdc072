#include "meta/cluster/cluster_store.h"

#include <functional>
#include <string>

#include "meta/ops/executor.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

template <typename Row>
Status LoadRows(const ReadView& view, ClusterRow kind,
                google::protobuf::RepeatedPtrField<Row>* rows) {
  const KeyRange range = ClusterRange(kind);
  bool valid = true;
  RETURN_IF_ERROR(
      view.Scan(range.begin, range.end, 0, [&](std::string_view, std::string_view value) {
        valid = rows->Add()->ParseFromArray(value.data(), static_cast<int>(value.size()));
        return valid;
      }));
  if (valid) return Status::Ok();
  return {Code::kCorrupt, "load cluster map: row " + std::to_string(rows->size()) + " of kind " +
                              std::to_string(static_cast<int>(kind)) + " does not parse"};
}

Status LoadFenced(const ReadView& view, proto::ClusterMap* map) {
  ASSIGN_OR_RETURN(const std::optional<std::string> row, view.Get(ClusterKey(ClusterRow::kFenced)));
  proto::FencedIncarnations fenced;
  if (row.has_value() && !fenced.ParseFromString(*row)) {
    return {Code::kCorrupt, "load cluster map: the fenced incarnations do not parse"};
  }
  *map->mutable_fenced() = std::move(*fenced.mutable_ranges());
  return Status::Ok();
}

void PutRow(OpContext& ctx, ClusterRow kind, uint64_t id,
            const google::protobuf::MessageLite& row) {
  ctx.Put(ClusterKey(kind, id), row.SerializeAsString());
}

Result<std::string> PutChange(OpContext& ctx, const proto::ClusterMap& change) {
  ctx.Put(ClusterKey(ClusterRow::kMapVersion), EncodeCounter(change.version()));
  if (!change.cluster_uuid().empty()) {
    ctx.Put(ClusterKey(ClusterRow::kIdentity), change.cluster_uuid());
  }
  for (const proto::Node& row : change.nodes()) PutRow(ctx, ClusterRow::kNode, row.id(), row);
  for (const proto::Target& row : change.targets()) {
    PutRow(ctx, ClusterRow::kTarget, row.id(), row);
  }
  for (const proto::Chain& row : change.chains()) PutRow(ctx, ClusterRow::kChain, row.id(), row);
  for (const proto::ChainTable& row : change.tables()) {
    PutRow(ctx, ClusterRow::kTable, row.version(), row);
    ctx.Put(ClusterKey(ClusterRow::kCurrentTable), EncodeCounter(row.version()));
  }
  if (!change.fenced().empty()) {  // ranges grow and merge; they never go
    proto::FencedIncarnations fenced;
    *fenced.mutable_ranges() = change.fenced();
    PutRow(ctx, ClusterRow::kFenced, 0, fenced);
  }
  return std::string();
}

}  // namespace

Result<proto::ClusterMap> ExecutorClusterStore::Load() {
  const std::shared_ptr<const ReadView> view = executor_.Committed();
  proto::ClusterMap map;
  ASSIGN_OR_RETURN(std::optional<std::string> uuid, view->Get(ClusterKey(ClusterRow::kIdentity)));
  if (!uuid.has_value()) return map;
  map.set_cluster_uuid(*uuid);
  ASSIGN_OR_RETURN(std::optional<std::string> version,
                   view->Get(ClusterKey(ClusterRow::kMapVersion)));
  if (!version.has_value()) {
    return Status(Code::kCorrupt, "load cluster map: its version is missing");
  }
  ASSIGN_OR_RETURN(const uint64_t number, DecodeCounter(*version));
  map.set_version(number);
  RETURN_IF_ERROR(LoadRows(*view, ClusterRow::kNode, map.mutable_nodes()));
  RETURN_IF_ERROR(LoadRows(*view, ClusterRow::kTarget, map.mutable_targets()));
  RETURN_IF_ERROR(LoadRows(*view, ClusterRow::kChain, map.mutable_chains()));
  RETURN_IF_ERROR(LoadRows(*view, ClusterRow::kTable, map.mutable_tables()));
  RETURN_IF_ERROR(LoadFenced(*view, &map));
  return map;
}

Result<FencedRanges> ExecutorClusterStore::EndedSessions() {
  return FencedRanges::Load(*executor_.Committed());
}

Status ExecutorClusterStore::Write(const proto::ClusterMap& change) {
  return executor_.Run(std::nullopt, [change](OpContext& ctx) { return PutChange(ctx, change); })
      .status();
}

Result<uint64_t> ExecutorClusterStore::Allocate(Sequence which, uint64_t count) {
  Result<std::string> first =
      executor_.Run(std::nullopt, [which, count](OpContext& ctx) -> Result<std::string> {
        ASSIGN_OR_RETURN(const uint64_t number, ctx.Allocate(which, count));
        return EncodeCounter(number);
      });
  if (!first.ok()) return first.status();
  return DecodeCounter(*first);
}

}  // namespace sheaf::meta
