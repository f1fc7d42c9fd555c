// A layer of float weights whose products and sums are in double, each sum rounded once: what it gives does not depend
// on the instruction set, and as good as never on the order of the sum.
#pragma once

#include <vector>

#include "ending.h"
#include "isa.h"
#include "layer.h"
#include "pixels.h"
#include "real_layer.h"

namespace xnorlit {

class DoubleLayer final : public Layer {
 public:
  DoubleLayer(const Isa& isa, const RealSettings& settings);

  Value input() const override { return input_; }
  Value output() const override { return ending_.output(); }
  int64_t scratch_bytes(int images) const override;
  int64_t resident_bytes() const override {
    return ending_.bytes() + reader_.bytes() + 8 * static_cast<int64_t>(weights_.size());
  }
  void run(const Call& call) const override;

 private:
  int passes() const { return depthwise_ ? 1 : groups_; }  // over the map, each with channels of its own
  int pass_channels() const { return depthwise_ ? input_.shape.channels : input_.shape.channels / groups_; }
  int rows() const { return input_.shape.height + 2 * window_.pad_y; }
  int64_t row_doubles() const { return int64_t{input_.shape.width + 2 * window_.pad_x} * pass_channels(); }
  int64_t run_length() const { return int64_t{window_.kernel_x} * pass_channels(); }
  int blocks() const { return (sums_.channels / groups_ + isa_.float_lanes - 1) / isa_.float_lanes; }

  void pad(const Call& call, int image, int pass, int row, double* to) const;
  void run_row(const double* doubles, int pass, int y, float* sums) const;

  const Isa& isa_;
  Value input_;
  Window window_;
  int groups_;
  Shape sums_;  // before the pool
  bool depthwise_;
  Reader reader_;
  std::vector<double> weights_;  // [group][block][value of the window][lane]; depthwise: [tap][channel]
  Ending ending_;
};

}  // namespace xnorlit
