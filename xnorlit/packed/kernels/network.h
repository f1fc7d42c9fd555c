// A packed network that runs: from a file's bytes to logits.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "document.h"
#include "engine.h"
#include "graph.h"
#include "tensorfile.h"

namespace xnorlit {

class Network {
 public:
  // `file` is only read while this loads. `isa` by name; empty for the fastest. Throws FileError for what is no packed
  // network, and std::invalid_argument for an instruction set that this processor lacks.
  Network(std::span<const uint8_t> file, const std::string& isa);

  const Document& document() const { return document_; }
  const Isa& isa() const { return chain_ ? chain_->isa() : graph_->isa(); }
  int64_t resident_bytes() const { return chain_ ? chain_->resident_bytes() : graph_->resident_bytes(); }
  int64_t arena_bytes() const { return chain_ ? chain_->arena_bytes() : graph_->arena_bytes(); }

  // Allocates what a run of one image on so many threads needs.
  void prepare(int threads) const;
  // Pixels [images][size][size][3] to logits [images][classes]. From several threads at once, if need be.
  void run(const uint8_t* pixels, float* logits, int64_t images, int threads) const;

 private:
  Document document_;
  std::unique_ptr<Engine> chain_;
  std::unique_ptr<GraphEngine> graph_;
  int logits_ = 0;
};

}  // namespace xnorlit
