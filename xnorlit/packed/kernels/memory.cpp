#include "memory.h"

#include <algorithm>

namespace xnorlit {
namespace {

// Maxima over all kernels: output channels of a block of weights, by operand; bytes per word of bits; bytes per byte;
// overhead of a group in the engine.
constexpr int64_t kBitLanes = 32, kRealLanes = 16, kOperandBytes = 16, kByteWidth = 2, kGroupBytes = 512,
                  kTailChannels = 64;

int64_t up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

int64_t border(const LayerPart& layer, const Shape& at) {
  const Window look = layer.looks(at);
  return (int64_t{at.height} + 2 * look.pad_y) * (int64_t{at.width} + 2 * look.pad_x);
}

}  // namespace

int64_t loaded_bytes(const LayerPart& layer, const Shape& at) {
  const Window look = layer.looks(at);
  const int64_t depth = at.channels / layer.groups, outputs = layer.outputs / layer.groups, groups = layer.groups;
  const int64_t taps = int64_t{look.kernel_y} * look.kernel_x, planes = static_cast<int64_t>(layer.factors.size());
  if (layer.weights == LayerPart::kInt8)
    return up(outputs, kRealLanes) * look.kernel_y * up(kByteWidth * look.kernel_x * depth, 4);
  if (layer.weights == LayerPart::kFloat) {
    if (layer.fp64 && depth == 1 && outputs == 1) return 8 * up(groups, kRealLanes) * taps + kGroupBytes;
    return groups * ((layer.fp64 ? 8 : 4) * up(outputs, kRealLanes) * taps * depth + kGroupBytes);
  }
  if (!layer.binary()) return groups * (planes * up(outputs, kBitLanes) / 8 * taps * depth + kGroupBytes);
  const Shape sums = layer.sums(at);
  const int64_t row = 4 * taps * words_of(static_cast<int>(depth));
  const int64_t overlaps =
      int64_t{std::min(sums.height, 2 * look.pad_y + 1)} * std::min(sums.width, 2 * look.pad_x + 1);
  const int64_t tables = (4 * up(outputs, 16) + 16) * overlaps + 4 * (int64_t{sums.height} + sums.width);
  const int64_t blocks = planes * up(outputs, kBitLanes) * row;
  // For one group at a time: its planes while they are copied into blocks, and the ones of one output's weights.
  const int64_t passing = planes * outputs * row + 4 * (int64_t{look.kernel_y} + 1) * (look.kernel_x + 1);
  const int64_t windows = layer.window_sum ? 4 * up(layer.outputs, kTailChannels) * overlaps : 0;
  return groups * (blocks + tables + kGroupBytes) + passing + windows;
}

int64_t input_bytes(const LayerPart& layer, const Shape& at) {
  if (layer.reads == Form::kReals || layer.k) return 4 * at.values() + kAlignmentBytes;
  const int64_t positions = layer.binary() ? border(layer, at) : at.positions();
  return 4 * layer.bits * positions * words_of(at.channels) + kAlignmentBytes;
}

int64_t scratch_bytes(const LayerPart& layer, const Shape& at) {
  const int64_t depth = at.channels / layer.groups, around = border(layer, at);
  const int64_t results = 4 * layer.sums(at).values() + 8 * kAlignmentBytes;
  if (!layer.binary()) {
    if (layer.fp64) return 8 * around * std::max<int64_t>(depth, depth == 1 ? at.channels : 0) + results;
    return 4 * around * depth + results;
  }
  const int64_t words = layer.bits * around * words_of(static_cast<int>(depth));
  const int64_t slices = layer.groups > 1 ? 4 * words : 0;
  const int64_t scaled = layer.k ? 4 * around * (words_of(at.channels) + 1) : 0;
  return kOperandBytes * words + slices + scaled + results;
}

int64_t tail_scratch_bytes(const LayerPart& layer, const Shape& at) {
  return layer.window_sum ? 4 * (border(layer, at) + layer.sums(at).positions()) + 2 * kAlignmentBytes : 0;
}

}  // namespace xnorlit
