// How much memory the weights of a layer take on any kernels, from what the layer reads, where it looks and what it
// makes.
#pragma once

#include <algorithm>

#include "map.h"

namespace xnorlit {

// At most so many bytes become of weights while a layer loads: blocks of lanes, and tables for its border. With many
// groups of few outputs, each group takes whole lanes. A wide border needs a row of sums for every overlap of the
// window with it.
struct WeightShape {
  Shape input;
  Window window;
  int groups, outputs;

  int64_t taps() const { return int64_t{window.kernel_y} * window.kernel_x; }
  int64_t octets() const { return (input.channels / groups + 7) / 8; }
  int64_t products() const { return taps() * (input.channels / groups); }

  int64_t byte_bytes() const {
    return up(here(), kRealLanes) * window.kernel_y * up(kByteWidth * window.kernel_x * (input.channels / groups), 4);
  }
  int64_t float_bytes() const { return groups * (4 * up(here(), kRealLanes) * products() + kGroupBytes); }
  int64_t double_bytes() const {
    if (depthwise()) return 8 * up(groups, kRealLanes) * taps() + kGroupBytes;
    return groups * (8 * up(here(), kRealLanes) * products() + kGroupBytes);
  }
  // Planes of bits that are multiplied with reals, and with bits.
  int64_t sign_bytes(int64_t planes) const {
    return groups * (planes * up(here(), kBitLanes) / 8 * products() + kGroupBytes);
  }
  int64_t bit_bytes(int64_t planes) const {
    const int64_t row = 4 * taps() * words_of(input.channels / groups);
    const Shape sums = window.over(input, outputs);
    const int64_t tables = (4 * up(here(), 16) + 16) * overlaps() + 4 * (int64_t{sums.height} + sums.width);
    // For one group at a time: its planes while they are copied into blocks, and the ones of one output's weights.
    const int64_t passing = planes * here() * row + 4 * (int64_t{window.kernel_y} + 1) * (window.kernel_x + 1);
    return groups * (planes * up(here(), kBitLanes) * row + tables + kGroupBytes) + passing;
  }
  // Of the sums of signs in its windows.
  int64_t window_bytes() const { return 4 * up(outputs, kTailChannels) * overlaps(); }

 private:
  // Maxima over all kernels: output channels of a block of weights, by operand; bytes per byte; overhead of a group.
  static constexpr int64_t kBitLanes = 32, kRealLanes = 16, kByteWidth = 2, kGroupBytes = 512, kTailChannels = 64;

  static int64_t up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }
  int64_t here() const { return outputs / groups; }
  bool depthwise() const { return input.channels == groups && outputs == groups; }
  int64_t overlaps() const {
    const Shape sums = window.over(input, outputs);
    return int64_t{std::min(sums.height, 2 * window.pad_y + 1)} * std::min(sums.width, 2 * window.pad_x + 1);
  }
};

}  // namespace xnorlit
