#include "storage/inspect/inspect.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

#include "common/crc32c.h"
#include "common/fd.h"
#include "common/state_dir.h"
#include "storage/engine/chunk_index.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kPage = 4096;  // chunks listed at a time

Result<uint64_t> Number(const InspectRequest& request, size_t argument, const char* name) {
  if (argument >= request.arguments.size()) {
    return Status(Code::kUsage, "inspect " + request.what + ": name the " + name);
  }
  const std::string& text = request.arguments[argument];
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return Status(Code::kUsage,
                "inspect " + request.what + ": " + name + " " + text + " is not a number");
}

std::string SlabPath(const std::string& directory, uint32_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "/slabs/slab.%08u", number);
  return directory + name;
}

Status ShowSlabs(const InspectRequest& request, const PrintFacts& print) {
  for (uint32_t number = 0;; ++number) {
    const std::string path = SlabPath(request.directory, number);
    struct stat info = {};
    if (::stat(path.c_str(), &info) != 0) {
      if (errno == ENOENT) return Status::Ok();
      return Status::FromErrno(errno, "inspect slab " + path);
    }
    print(Facts()
              .Add("slab", number)
              .Add("bytes", info.st_size)
              .Add("allocated_bytes", info.st_blocks * 512));
  }
}

// Visits every chunk, or one chain's.
template <typename Visit>
Status ForEachChunk(ChunkIndex& index, std::optional<uint32_t> chain, Visit visit) {
  std::optional<Engine::ChunkKey> after;
  if (chain && *chain > 0) {
    after = Engine::ChunkKey{ChainId(*chain - 1), {DataId(UINT64_MAX), UINT32_MAX}};
  }
  for (;;) {
    ASSIGN_OR_RETURN(const auto page, index.ListAll(after, kPage));
    for (const Engine::ListedChunk& chunk : page) {
      if (chain && chunk.key.chain.value() != *chain) return Status::Ok();
      if (!visit(chunk)) return Status::Ok();
    }
    if (page.size() < kPage) return Status::Ok();
    after = page.back().key;
  }
}

Facts ChunkFacts(const Engine::ListedChunk& chunk) {
  Facts facts;
  facts.Add("chain", chunk.key.chain.value())
      .Add("data_id", chunk.key.chunk.data_id.value())
      .Add("index", chunk.key.chunk.index);
  if (!chunk.damage.ok()) return facts.Add("error", chunk.damage.message());
  return facts.Add("length", chunk.state.length)
      .Add("version", chunk.state.version.value())
      .Add("chain_version", chunk.state.chain_version.value())
      .Add("checksum", chunk.state.checksum);
}

Status ShowSummary(const InspectRequest& request, ChunkIndex& index, uint64_t slab_bytes,
                   const PrintFacts& print) {
  ASSIGN_OR_RETURN(const StateMarker marker, ReadStateMarker(request.directory));
  uint64_t chunks = 0, bytes = 0, damaged = 0;
  RETURN_IF_ERROR(ForEachChunk(index, std::nullopt, [&](const Engine::ListedChunk& chunk) {
    ++chunks;
    bytes += chunk.state.length;
    damaged += chunk.damage.ok() ? 0 : 1;
    return true;
  }));
  print(Facts()
            .Add("kind", marker.kind)
            .Add("format", marker.format_version)
            .Add("uuid", marker.uuid)
            .Add("slab_bytes", slab_bytes)
            .Add("chunks", chunks)
            .Add("chunk_bytes", bytes)
            .Add("damaged_heads", damaged));
  return Status::Ok();
}

Status ShowChunks(const InspectRequest& request, ChunkIndex& index, const PrintFacts& print) {
  std::optional<uint32_t> chain;
  if (!request.arguments.empty()) {
    ASSIGN_OR_RETURN(const uint64_t number, Number(request, 0, "chain"));
    chain = static_cast<uint32_t>(number);
  }
  uint64_t shown = 0;
  return ForEachChunk(index, chain, [&](const Engine::ListedChunk& chunk) {
    if (request.limit != 0 && shown++ == request.limit) {
      print(Facts().Add("more", "yes; raise --limit, or 0 for all"));
      return false;
    }
    print(ChunkFacts(chunk));
    return true;
  });
}

// Compares the blocks of a run with their checksums, a unit at a time.
Status VerifyRun(const InspectRequest& request, const ChunkRecord& record, uint32_t logical,
                 uint32_t blocks, uint32_t blocks_per_slab) {
  for (uint32_t at = logical; at < logical + blocks; ++at) {
    const BlockNumber block = record.BlockAt(at);
    const std::string path = SlabPath(request.directory, block / blocks_per_slab);
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.IsOpen()) return Status::FromErrno(errno, "open slab " + path);
    std::vector<uint8_t> bytes(kBlockBytes);
    const uint64_t offset = uint64_t{block % blocks_per_slab} * kBlockBytes;
    const ssize_t got = ::pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(kBlockBytes)) {
      return Status::FromErrno(got < 0 ? errno : EIO,
                               "read slab " + path + " at offset " + std::to_string(offset));
    }
    for (uint32_t unit = 0; unit < kUnitsPerBlock; ++unit) {
      const uint32_t want = record.UnitCrc(at * kUnitsPerBlock + unit);
      const uint32_t found =
          Crc32c(std::span(bytes).subspan(size_t{unit} * kUnitBytes, kUnitBytes));
      if (want == found) continue;
      return {Code::kCorrupt, "checksum mismatch in " + path + " at offset " +
                                  std::to_string(offset + uint64_t{unit} * kUnitBytes)};
    }
  }
  return Status::Ok();
}

Status ShowExtents(const InspectRequest& request, const ChunkRecord& record,
                   uint32_t blocks_per_slab, const PrintFacts& print) {
  const uint32_t blocks = (record.length + kBlockBytes - 1) / kBlockBytes;
  Status bad;
  for (uint32_t logical = 0; logical < blocks;) {
    const BlockNumber first = record.BlockAt(logical);
    uint32_t run = 1;
    const auto follows = [&](BlockNumber next) {
      if (first == kNoBlock) return next == kNoBlock;
      return next == first + run && next % blocks_per_slab != 0;
    };
    while (logical + run < blocks && follows(record.BlockAt(logical + run))) ++run;
    Facts facts;
    facts.Add("offset", uint64_t{logical} * kBlockBytes).Add("blocks", run);
    if (first == kNoBlock) {
      facts.Add("hole", true);
    } else {
      facts.Add("slab", first / blocks_per_slab)
          .Add("slab_offset", uint64_t{first % blocks_per_slab} * kBlockBytes);
      if (request.verify) {
        const Status status = VerifyRun(request, record, logical, run, blocks_per_slab);
        facts.Add("verified", status.ok());
        if (!status.ok()) facts.Add("error", status.message());
        if (bad.ok()) bad = status;
      } else {
        facts.Add("first_unit_crc", record.UnitCrc(logical * kUnitsPerBlock));
      }
    }
    print(facts);
    logical += run;
  }
  return bad;
}

Status ShowChunk(const InspectRequest& request, ChunkIndex& index, uint64_t slab_bytes,
                 const PrintFacts& print) {
  ASSIGN_OR_RETURN(const uint64_t chain, Number(request, 0, "chain"));
  ASSIGN_OR_RETURN(const uint64_t data_id, Number(request, 1, "data_id"));
  ASSIGN_OR_RETURN(const uint64_t number, Number(request, 2, "index"));
  const Engine::ChunkKey key{ChainId(static_cast<uint32_t>(chain)),
                             {DataId(data_id), static_cast<uint32_t>(number)}};
  ASSIGN_OR_RETURN(const RecordRef record, index.Load(key));
  if (record == nullptr) {
    return {Code::kNotFound,
            "chunk " + ToString(key.chain) + "/" + ToString(key.chunk) + ": there is none"};
  }
  Engine::ListedChunk listed{key, {}, Status::Ok()};
  listed.state = {record->length, record->version, record->chain_version, record->checksum};
  Facts facts = ChunkFacts(listed);
  print(facts.Add("chunk_size", record->chunk_size));
  return ShowExtents(request, *record, static_cast<uint32_t>(slab_bytes / kBlockBytes), print);
}

}  // namespace

Status Inspect(const InspectRequest& request, const PrintFacts& print) {
  RETURN_IF_ERROR(ReadStateMarker(request.directory).status());
  if (request.what == "slabs") return ShowSlabs(request, print);
  ASSIGN_OR_RETURN(const auto index, ChunkIndex::OpenReadOnly(request.directory + "/index"));
  ASSIGN_OR_RETURN(const uint64_t slab_bytes, index->ReadTarget());
  if (request.what == "summary") return ShowSummary(request, *index, slab_bytes, print);
  if (request.what == "chunks") return ShowChunks(request, *index, print);
  if (request.what == "chunk") return ShowChunk(request, *index, slab_bytes, print);
  return {Code::kUsage,
          "inspect: " + request.what + " is nothing of a target (summary, slabs, chunks, chunk)"};
}

}  // namespace sheaf::storage
