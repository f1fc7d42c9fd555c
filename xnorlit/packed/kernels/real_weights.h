// Weights of sums over real numbers, as an instruction set's tiles read them.
#pragma once

#include <vector>

#include "isa.h"
#include "weights.h"

namespace xnorlit {

// Planes of signs: a weight is the sum of factors[i] * (-1 or +1 of plane i), over the divisor.
struct SignPlanes {
  const uint8_t* bits = nullptr;  // [plane][output][tap][byte], channels from the low bit up
  std::vector<int> factors;
  int divisor = 1;
};

class RealWeights {
 public:
  // `weights`: [output][value of the window]
  RealWeights(const Isa& isa, int outputs, int64_t length, const float* weights);
  // `stride`: bytes from one plane to the next; a window has `taps` of `channels` each.
  RealWeights(const Isa& isa, int outputs, int64_t taps, int channels, const SignPlanes& planes, int64_t stride);

  int lanes() const { return lanes_; }
  int blocks() const { return blocks_; }
  int tile_blocks() const { return tile_blocks_; }
  int64_t bytes() const { return static_cast<int64_t>(memory_.size()); }

  // The sums of a tile with tile.blocks blocks from `block` on, over all planes.
  void run(RealTile& tile, int block) const;

 private:
  const Isa& isa_;
  int lanes_, tile_blocks_, blocks_;
  int64_t block_bytes_;
  std::vector<float> factors_;  // none for weights of floats
  float divided_ = 1;
  Weights<uint8_t> memory_;  // [plane][block]
};

}  // namespace xnorlit
