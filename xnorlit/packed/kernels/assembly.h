// A file's layers and nodes as the engine's, as xnorlit/packed/assembly.py has it.
#pragma once

#include "check.h"
#include "engine.h"
#include "graph.h"

namespace xnorlit {

void assemble_chain(Engine& engine, const Document& document, const Tensors& tensors, const Checked& checked);
// The number of the value that is the logits.
int assemble_graph(GraphEngine& engine, const Document& document, const Tensors& tensors, const Checked& checked);

}  // namespace xnorlit
