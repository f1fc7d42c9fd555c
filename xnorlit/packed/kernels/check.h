// Whether a file's parts fit each other and their tensors, before any length is trusted: bounds.h says how much memory
// a file may take.
#pragma once

#include <vector>

#include "document.h"
#include "plan.h"
#include "settings.h"
#include "tensorfile.h"

namespace xnorlit {

struct Checked {
  std::vector<Flow> flows;            // of the image and of every node
  Plan plan;                          // of a graph
  std::vector<int64_t> loaded_bytes;  // of each node, at most: its weights in memory
  int64_t arena_bytes = 0;            // at most: what a call with one image allocates
};

// Numbers what the nodes read. `fuse`: whether the nodes of a graph share passes. Throws FileError, whose message
// begins with the place in the file.
Checked check(Document& document, const Tensors& tensors, bool fuse = true);

// What a layer reads, where it looks and what it makes, as the engine takes it. Throws std::invalid_argument.
Frame frame(const LayerPart& layer, const Shape& at);

}  // namespace xnorlit
