// The input of a layer of real sums, whatever its form, as the numbers that it stands for.
#pragma once

#include <vector>

#include "layer.h"

namespace xnorlit {

class Reader {
 public:
  // `mean`, `std`: per channel of pixels, which are read as (pixel - mean) / std.
  Reader(const Value& input, bool signed_inputs, const std::vector<float>& mean, const std::vector<float>& std);

  // Channels `first` to `first` + `channels` of one row of an image.
  template <typename Number>
  void read(const void* in, int image, int y, int first, int channels, Number* to) const;
  int64_t bytes() const { return 4 * static_cast<int64_t>(levels_.size()); }

 private:
  Value input_;
  bool signed_inputs_;
  std::vector<float> levels_;  // [channel][pixel value], normalised
};

}  // namespace xnorlit
