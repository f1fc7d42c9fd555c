// A packed network that runs: from a file's bytes, or a description and tensors in memory, to logits.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "document.h"
#include "engine.h"
#include "graph.h"
#include "tensorfile.h"

namespace xnorlit {

class Network {
 public:
  // The file, or the description and the tensors, are only read while this loads. `isa` by name; empty for the fastest.
  // `fuse`: whether the nodes of a graph share passes over a map; the results are the same. Throws FileError for what
  // is no packed network, and std::invalid_argument for an instruction set that this processor lacks.
  Network(std::span<const uint8_t> file, const std::string& isa);
  Network(std::string_view description, const Tensors& tensors, const std::string& isa, bool fuse = true);

  // Its fields without its layers and nodes.
  const Document& document() const { return document_; }
  const AnyEngine& engine() const { return chain_ ? static_cast<const AnyEngine&>(*chain_) : *graph_; }
  // The names of the engine's steps, as assembly.h has them.
  const std::vector<std::string>& steps() const { return steps_; }

  // Allocates what a run of one image on so many threads needs.
  void prepare(int threads) const;
  // Pixels [images][size][size][3] to logits [images][classes]. From several threads at once, if need be. Adds what
  // each step takes to `seconds`, unless null.
  void run(const uint8_t* pixels, float* logits, int64_t images, int threads, double* seconds = nullptr) const;

 private:
  Network(const TensorFile& file, const std::string& isa) : Network(file.description(), file.tensors, isa) {}

  Document document_;
  std::unique_ptr<Engine> chain_;
  std::unique_ptr<GraphEngine> graph_;
  std::vector<std::string> steps_;
  int logits_ = 0;
};

}  // namespace xnorlit
