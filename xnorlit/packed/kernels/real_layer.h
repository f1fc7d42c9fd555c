// A layer whose sums are over real numbers: a float one, or one of real inputs and binary weights.
#pragma once

#include <memory>
#include <vector>

#include "ending.h"
#include "isa.h"
#include "layer.h"
#include "pixels.h"
#include "real_weights.h"

namespace xnorlit {

struct RealSettings {
  Value input;                   // pixels, reals or bits
  bool signed_inputs = false;    // whether bits are -1 and +1, or planes of codes
  std::vector<float> mean, std;  // per channel of pixels, which the layer reads as (pixel - mean) / std
  Window window;
  int groups = 1;
  int outputs = 0;
  // One of the two: [output][kernel row][kernel column][channel of the group], or planes of it.
  const float* weights = nullptr;
  SignPlanes planes;
  EndingSettings ending;
};

class RealLayer final : public Layer {
 public:
  RealLayer(const Isa& isa, const RealSettings& settings);

  Value input() const override { return input_; }
  Value output() const override { return ending_.output(); }
  int64_t scratch_bytes(int images) const override;
  int64_t resident_bytes() const override;
  void run(const Call& call) const override;

 private:
  // The window covers the whole map: images are the positions of one row.
  bool flat() const { return flat_; }
  int group_channels() const { return input_.shape.channels / groups_; }
  int group_outputs() const { return sums_.channels / groups_; }
  int rows() const { return input_.shape.height + 2 * window_.pad_y; }
  int64_t row_floats() const { return int64_t{input_.shape.width + 2 * window_.pad_x} * group_channels(); }

  void pad(const Call& call, int image, int group, int row, float* floats) const;
  void run_row(const float* floats, int group, int y, float* sums, uint32_t* bits, const BitMap& map) const;
  void run_flat(const Call& call) const;

  const Isa& isa_;
  Value input_;
  Window window_;
  int groups_;
  Shape sums_;  // before the pool
  bool flat_;
  Reader reader_;
  std::vector<float> rows_;           // float weights of a flat layer, [output][input]
  std::vector<RealWeights> weights_;  // else, one per group
  Ending ending_;
};

}  // namespace xnorlit
