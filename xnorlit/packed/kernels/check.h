// Whether a file's parts fit each other and their tensors, before any length is trusted: the rules of
// xnorlit/packed/check.py, which says why. tests/packed/test_c.py holds the two to the same verdicts.
#pragma once

#include <vector>

#include "document.h"
#include "plan.h"
#include "tensorfile.h"

namespace xnorlit {

struct Checked {
  std::vector<Flow> flows;  // of the image and of every node
  Plan plan;                // of a graph
};

// Numbers what the nodes read. Throws FileError, whose message begins with the place in the file.
Checked check(Document& document, const Tensors& tensors);

}  // namespace xnorlit
