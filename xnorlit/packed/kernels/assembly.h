// A file's layers and nodes as the engine's.
#pragma once

#include "check.h"
#include "engine.h"
#include "graph.h"

namespace xnorlit {

// Each returns the names of the engine's steps: that of the node that runs by itself in a step, or of the first node of
// its tail. A copy of bits into another border is named after its value, with `border`.
using Names = std::vector<std::string>;

Names assemble_chain(Engine& engine, const Document& document, const Tensors& tensors, const Checked& checked);
// `logits`: the number of the value that holds them.
Names assemble_graph(GraphEngine& engine, const Document& document, const Tensors& tensors, const Checked& checked,
                     int& logits);

}  // namespace xnorlit
