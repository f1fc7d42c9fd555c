#include "memory.h"

#include <algorithm>

#include "weight_shape.h"

namespace xnorlit {
namespace {

constexpr int64_t kOperandBytes = 16;  // per word of bits

int64_t border(const LayerPart& layer, const Shape& at) {
  const Window look = layer.looks(at);
  return (int64_t{at.height} + 2 * look.pad_y) * (int64_t{at.width} + 2 * look.pad_x);
}

}  // namespace

int64_t loaded_bytes(const LayerPart& layer, const Shape& at) {
  const WeightShape shape = {at, layer.looks(at), layer.groups, layer.outputs};
  const auto planes = static_cast<int64_t>(layer.factors.size());
  if (layer.weights == LayerPart::kInt8) return shape.byte_bytes();
  if (layer.weights == LayerPart::kFloat) return layer.fp64 ? shape.double_bytes() : shape.float_bytes();
  if (!layer.binary()) return shape.sign_bytes(planes);
  return shape.bit_bytes(planes) + (layer.window_sum ? shape.window_bytes() : 0);
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
