#pragma once

#include <optional>

#include "common/ids.h"
#include "storage/engine/engine.h"

namespace sheaf::storage {

// This node's replica of one chain: where every request for the chain goes. With one member in the
// chain the head is also the tail: a write is committed once it is durable here, a read answers
// what is committed. The object lives as long as the node has the chain, across chain versions.
//
// Thread safety: all calls from any I/O context's thread, as Engine.
class ChainReplica {
 public:
  ChainReplica(ChainId chain, Engine& engine) : chain_(chain), engine_(engine) {}

  const Engine& engine() const { return engine_; }

  void Read(IoContext& io, ChunkId chunk, uint32_t offset, uint32_t length, Engine::ReadDone done) {
    engine_.Read(io, {chain_, chunk}, offset, length, std::move(done));
  }

  // `args.key.chain` is set here.
  void Write(IoContext& io, Engine::WriteArgs args, Engine::StateDone done) {
    args.key.chain = chain_;
    engine_.Write(io, std::move(args), std::move(done));
  }

  struct TruncateArgs {
    ChunkId chunk;
    uint32_t length = 0;
    uint32_t chunk_size = 0;
    bool extend = false;
    ChainVersion chain_version;
  };
  void Truncate(IoContext& io, const TruncateArgs& args, Engine::StateDone done) {
    engine_.Truncate(io, {chain_, args.chunk}, args.length, args.chunk_size, args.extend,
                     args.chain_version, std::move(done));
  }

  void Remove(IoContext& io, DataId data_id, uint32_t first_index, uint32_t limit,
              Engine::RemoveDone done) {
    engine_.Remove(io, chain_, data_id, first_index, limit, std::move(done));
  }

  void List(IoContext& io, std::optional<ChunkId> after, std::optional<DataId> only, uint32_t limit,
            Engine::ListDone done) {
    engine_.List(io, chain_, after, only, limit, std::move(done));
  }

 private:
  const ChainId chain_;
  Engine& engine_;
};

}  // namespace sheaf::storage
