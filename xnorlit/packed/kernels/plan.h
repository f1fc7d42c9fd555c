// How the engine runs a graph: nodes gathered into stages, values laid into slots of memory.
//
// A stage is one pass over a map. It consists of at most one node that must run by itself (a convolution, a pool) and a
// tail of elementwise nodes and signs. Values inside a stage are written to memory only if another stage reads them.
// Values that are never needed at the same time share a slot.
#pragma once

#include <compare>
#include <map>
#include <utility>
#include <vector>

#include "document.h"

namespace xnorlit {

// A value in memory, by its number, and what surrounds it there if it is bits.
struct Place {
  int value = 0;
  int pad_y = 0, pad_x = 0;
  bool ones = false;
  auto operator<=>(const Place&) const = default;
};

// One pass. Each elementwise node of its tail works on the value of the one before it, a sign on the value that it
// reads.
struct Stage {
  int head = -1;                                // number of a node
  std::vector<Place> reads;                     // of the head, or of the tail alone
  std::vector<int> tail;                        // numbers of nodes
  std::map<int, int> running;                   // the value that each elementwise node of the tail works on
  std::vector<Place> stored;                    // reals and bits that it writes
  std::vector<std::pair<Place, Place>> copies;  // of bits, into another border behind it
};

struct Plan {
  std::vector<Stage> stages;
  std::vector<std::pair<Place, int>> slots;  // in the order in which the slots are made
  int64_t arena_bytes = 0;                   // for one image: all slots, and the scratch of one stage at a time
};

// Whether any tail may follow a layer where its sums arise: bits of a group have words of their own.
bool hosts(const LayerPart& layer);
// Whether the maps of a layer's own ending may go on with affine nodes that follow it.
bool maps(const LayerPart& layer);

// `flows`: of the image and of every node. `fuse`: whether nodes share passes.
Plan plan(const Document& document, const std::vector<Flow>& flows, bool fuse);

}  // namespace xnorlit
