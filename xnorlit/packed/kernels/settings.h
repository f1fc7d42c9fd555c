// From a layer's description, whoever gives it, to the layer: checked for what memory safety needs.
//
// What comes of a file was validated before (check.h), with messages that name its fields.
#pragma once

#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "binary_layer.h"
#include "byte_layers.h"
#include "bounds.h"
#include "real_layer.h"
#include "weight_shape.h"

namespace xnorlit {

// Every product of three extents fits 64 bits, and every window's length 31.
constexpr int kLargest = 1 << 20;
constexpr int64_t kMostBytes = int64_t{1} << 34;

void require(bool condition, const char* message);

// What a layer is whatever its operands: the map that it reads, where it looks, and what it makes.
struct Frame : WeightShape {
  // `window_values`: kernel, stride and padding, each (vertical, horizontal).
  Frame(const std::vector<int>& extents, const std::vector<int>& window_values, int groups, int outputs);
  // Of a map alone.
  explicit Frame(const std::vector<int>& extents) : Frame(extents, {1, 1, 1, 1, 0, 0}, 1, 1) {}

  // Refuses weights that take far more in memory than what was given for them.
  void check_growth(int64_t bytes, int64_t given) const;
};

// What a layer's sums are over.
struct Operand {
  enum Form { kPixels, kReals, kSigns, kCodes };
  Form form = kSigns;
  int bits = 1;                  // of a code
  bool scaled = false;           // XNOR-Net's K: reals, whose signs are taken and whose magnitudes scale the sums
  bool ones = false;             // signs beyond the map are +1; in graphs only
  std::vector<float> mean, std;  // of pixels, one per channel
};
Operand::Form operand_form(const std::string& name);

// Weights in planes of bits: [plane][output][kernel row][kernel column][byte], channels of the group from the low bit
// up.
struct BitPlanes {
  std::span<const uint8_t> bits;
  std::vector<int> factors;
  int divisor = 1;
};

// The ending's own settings; the sizes of its arrays are checked when its layer is known.
EndingSettings bits_ending(const MaxPool& pool, bool per_position, int planes, int levels,
                           std::vector<int32_t> thresholds, std::vector<float> real_thresholds,
                           std::vector<uint8_t> flips, std::vector<uint8_t> changes);
EndingSettings reals_ending(const MaxPool& pool, bool per_position, std::vector<Affine> maps);
EndingSettings sums_ending(const MaxPool& pool);
MaxPool pool_of(const std::vector<int>& values);

// Weights that are not planes: [output][kernel row][kernel column][channel of the group].
using LayerPointer = std::unique_ptr<Layer>;
LayerPointer binary_layer(const Isa& isa, const Frame& frame, const Operand& operand, const BitPlanes& weights,
                          const EndingSettings& ending);
LayerPointer real_layer(const Isa& isa, const Frame& frame, const Operand& operand, std::span<const float> weights,
                        const EndingSettings& ending);
LayerPointer double_layer(const Isa& isa, const Frame& frame, const Operand& operand, std::span<const float> weights,
                          const EndingSettings& ending);
LayerPointer real_layer(const Isa& isa, const Frame& frame, const Operand& operand, const BitPlanes& weights,
                        const EndingSettings& ending);
// `fill`: the pixel that stands for padding, per channel.
LayerPointer byte_conv(const Isa& isa, const Frame& frame, std::span<const int8_t> weights,
                       std::span<const uint8_t> fill, const EndingSettings& ending);
// The frame's window is its whole map.
LayerPointer byte_linear(const Isa& isa, const Frame& frame, float step, std::span<const int8_t> weights,
                         const EndingSettings& ending);

}  // namespace xnorlit
