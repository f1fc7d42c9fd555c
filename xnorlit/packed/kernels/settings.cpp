#include "settings.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "double_layer.h"

namespace xnorlit {
namespace {

Shape shape_of(const std::vector<int>& extents) {
  require(extents.size() == 3, "shape: expected (height, width, channels)");
  for (const int extent : extents) require(extent > 0 && extent <= kLargest, "shape: extents must be 1 to 2^20");
  const Shape shape = {extents[0], extents[1], extents[2]};
  require(shape.positions() <= kMostBytes / shape.channels, "shape: too large");
  return shape;
}

Window window_of(const std::vector<int>& values, const Shape& input) {
  require(values.size() == 6, "window: expected kernel, stride and padding, each (vertical, horizontal)");
  const Window window = {values[0], values[1], values[2], values[3], values[4], values[5]};
  require(window.kernel_y > 0 && window.kernel_x > 0 && window.stride_y > 0 && window.stride_x > 0 &&
              window.stride_y <= kLargest && window.stride_x <= kLargest,
          "window: kernel and stride must be 1 or more");
  require(window.pad_y >= 0 && window.pad_x >= 0 && window.pad_y < window.kernel_y && window.pad_x < window.kernel_x,
          "window: padding must be 0 or more and less than the kernel");
  require(window.kernel_y <= input.height + 2 * window.pad_y && window.kernel_x <= input.width + 2 * window.pad_x,
          "window: larger than its padded input");
  require(
      int64_t{window.kernel_y} * window.kernel_x <= kLargest &&
          int64_t{window.kernel_y} * window.kernel_x * (input.channels + 31) <= std::numeric_limits<int32_t>::max() / 4,
      "window: more than 2^20 positions, or 2^29 products with all channels");
  return window;
}

}  // namespace

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

Frame::Frame(const std::vector<int>& extents, const std::vector<int>& window_values, int groups, int outputs)
    : WeightShape{shape_of(extents), window_of(window_values, shape_of(extents)), groups, outputs} {
  require(outputs > 0 && outputs <= kLargest, "outputs: 1 to 2^20");
  require(groups > 0 && input.channels % groups == 0 && outputs % groups == 0,
          "groups: must divide the input and the output channels");
  require(window.over(input, outputs).positions() <= kMostBytes / outputs, "outputs: too large a map");
}

void Frame::check_growth(int64_t bytes, int64_t given) const {
  require(bytes <= kMostGrowth * given + kSpareBytes,
          "weights: groups and window take far more memory than the weights");
  require(bytes <= std::numeric_limits<ptrdiff_t>::max() / 2, "weights: more than this system can address");
}

MaxPool pool_of(const std::vector<int>& values) {
  if (values.empty()) return {};
  require(values.size() == 3 && values[0] > 0 && values[0] <= kLargest && values[1] > 0 && values[1] <= kLargest &&
              values[2] >= 0 && values[2] <= values[0] / 2,
          "pool: expected (size, stride, padding), the padding at most half of the size");
  return {values[0], values[1], values[2]};
}

EndingSettings bits_ending(const MaxPool& pool, bool per_position, int planes, int levels,
                           std::vector<int32_t> thresholds, std::vector<float> real_thresholds,
                           std::vector<uint8_t> flips, std::vector<uint8_t> changes) {
  EndingSettings ending;
  ending.form = EndingSettings::kBits;
  ending.pool = pool;
  ending.per_position = per_position;
  require(planes >= 1 && planes <= 8, "planes: 1 to 8");
  require(levels >= 1 && levels <= kLargest, "levels: 1 to 2^20");
  ending.planes = planes;
  ending.levels = levels;
  ending.thresholds = std::move(thresholds);
  ending.real_thresholds = std::move(real_thresholds);
  ending.flips = std::move(flips);
  ending.changes = std::move(changes);
  for (auto& flip : ending.flips) flip = flip != 0;
  for (auto& change : ending.changes) change = change != 0;
  return ending;
}

EndingSettings reals_ending(const MaxPool& pool, bool per_position, std::vector<Affine> maps) {
  EndingSettings ending;
  ending.form = EndingSettings::kReals;
  ending.pool = pool;
  ending.per_position = per_position;
  ending.maps = std::move(maps);
  return ending;
}

EndingSettings sums_ending(const MaxPool& pool) {
  EndingSettings ending;
  ending.pool = pool;
  return ending;
}

Operand::Form operand_form(const std::string& name) {
  if (name == "pixels") return Operand::kPixels;
  if (name == "reals") return Operand::kReals;
  if (name == "signs") return Operand::kSigns;
  require(name == "codes", "operand: pixels, reals, signs or codes");
  return Operand::kCodes;
}

namespace {

// Refuses an ending that does not fit its layer; `integers` says which thresholds its sums need.
void check_ending(const EndingSettings& ending, const Frame& frame, bool integers) {
  const Shape sums = frame.window.over(frame.input, frame.outputs);
  const int side = std::min(sums.height, sums.width);
  require(ending.pool.size <= side + 2 * ending.pool.pad, "pool: larger than its input");
  const Shape pooled = ending.pool.over(sums);
  const auto features = static_cast<size_t>(ending.per_position ? pooled.values() : pooled.channels);
  for (const Affine& map : ending.maps)
    require(map.scale.size() == features && map.shift.size() == features &&
                (map.slopes.size() == 1 || map.slopes.size() == features),
            "maps: a scale, a shift and a slope for each feature");
  if (ending.form != EndingSettings::kBits) return;
  const size_t thresholds = ending.levels * features, flips = ending.planes * features;
  require(ending.thresholds.size() == (integers ? thresholds : 0) &&
              ending.real_thresholds.size() == (integers ? 0 : thresholds),
          "thresholds: one for each level and feature, whole where the sums are");
  require(ending.flips.size() == flips, "flips: one for each plane and feature");
  require(ending.changes.size() == (ending.levels * ending.planes > 1 ? ending.levels * flips : 0),
          "changes: one for each level, plane and feature, none for one level and plane");
}

// Refuses planes that do not fit their layer.
void check_planes(const Frame& frame, const BitPlanes& weights) {
  require(!weights.factors.empty() && weights.factors.size() <= 16, "factors: 1 to 16");
  require(weights.divisor == 1 || weights.divisor == 2, "divisor: 1 or 2");
  require(static_cast<int64_t>(weights.bits.size()) ==
              static_cast<int64_t>(weights.factors.size()) * frame.outputs * frame.taps() * frame.octets(),
          "weights: not planes x outputs x kernel x bytes of channels");
}

void check_bits(const Operand& operand) {
  require(operand.bits >= 1 && operand.bits <= 8 && (operand.bits == 1 || operand.form == Operand::kCodes),
          "bits: 1 to 8, signs have one");
}

// A number for each channel of a map of pixels.
template <typename Number>
std::vector<Number> per_channel(std::span<const Number> values, const Frame& frame, const char* what) {
  if (static_cast<int64_t>(values.size()) != frame.input.channels)
    throw std::invalid_argument(std::string(what) + ": " + std::to_string(values.size()) + " values, expected " +
                                std::to_string(frame.input.channels));
  return {values.begin(), values.end()};
}

RealSettings real_settings(const Frame& frame, const Operand& operand, const EndingSettings& ending) {
  require(!operand.scaled && !operand.ones, "K and a border of ones: of sums of signs only");
  RealSettings settings;
  settings.signed_inputs = operand.form == Operand::kSigns;
  if (operand.form == Operand::kPixels) {
    settings.input = {Value::kPixels, frame.input};
    settings.mean = per_channel<float>(operand.mean, frame, "mean");
    settings.std = per_channel<float>(operand.std, frame, "std");
  } else if (operand.form == Operand::kReals) {
    settings.input = {Value::kReals, frame.input};
  } else {
    check_bits(operand);
    settings.input = {Value::kBits, frame.input, operand.bits};
  }
  settings.window = frame.window;
  settings.groups = frame.groups;
  settings.outputs = frame.outputs;
  check_ending(ending, frame, false);
  settings.ending = ending;
  return settings;
}

template <typename Number>
void check_weights(const Frame& frame, std::span<const Number> weights) {
  require(static_cast<int64_t>(weights.size()) == frame.products() * frame.outputs,
          "weights: not outputs x kernel x channels");
}

}  // namespace

LayerPointer binary_layer(const Isa& isa, const Frame& frame, const Operand& operand, const BitPlanes& weights,
                          const EndingSettings& ending) {
  const bool signs = operand.form == Operand::kSigns;
  require(signs || operand.form == Operand::kCodes, "operand: signs or codes");
  check_bits(operand);
  require(signs || !operand.scaled, "K: of signs only");
  require(!operand.ones || (signs && !operand.scaled), "a border of ones: of signs only");
  check_planes(frame, weights);
  int64_t most = 0;
  for (const int factor : weights.factors) most += std::abs(static_cast<int64_t>(factor));
  require(frame.products() * ((1 << operand.bits) - 1) <= kLargestSum / std::max<int64_t>(most, 1),
          "factors: sums too large");
  frame.check_growth(frame.bit_bytes(static_cast<int>(weights.factors.size())),
                     static_cast<int64_t>(weights.bits.size()));
  check_ending(ending, frame, !operand.scaled);
  BinarySettings settings;
  settings.input = frame.input;
  settings.window = frame.window;
  settings.groups = frame.groups;
  settings.outputs = frame.outputs;
  settings.planes = {operand.bits, signs, weights.factors, weights.divisor};
  settings.weights = weights.bits.data();
  settings.scaled = operand.scaled;
  settings.ones = operand.ones;
  settings.ending = ending;
  return std::make_unique<BinaryLayer>(isa, settings);
}

LayerPointer real_layer(const Isa& isa, const Frame& frame, const Operand& operand, std::span<const float> weights,
                        const EndingSettings& ending) {
  RealSettings settings = real_settings(frame, operand, ending);
  check_weights(frame, weights);
  frame.check_growth(frame.float_bytes(), static_cast<int64_t>(weights.size_bytes()));
  settings.weights = weights.data();
  return std::make_unique<RealLayer>(isa, settings);
}

LayerPointer double_layer(const Isa& isa, const Frame& frame, const Operand& operand, std::span<const float> weights,
                          const EndingSettings& ending) {
  RealSettings settings = real_settings(frame, operand, ending);
  check_weights(frame, weights);
  frame.check_growth(frame.double_bytes(), static_cast<int64_t>(weights.size_bytes()));
  settings.weights = weights.data();
  return std::make_unique<DoubleLayer>(isa, settings);
}

LayerPointer real_layer(const Isa& isa, const Frame& frame, const Operand& operand, const BitPlanes& weights,
                        const EndingSettings& ending) {
  RealSettings settings = real_settings(frame, operand, ending);
  check_planes(frame, weights);
  frame.check_growth(frame.sign_bytes(static_cast<int>(weights.factors.size())),
                     static_cast<int64_t>(weights.bits.size()));
  settings.planes = {weights.bits.data(), weights.factors, weights.divisor};
  return std::make_unique<RealLayer>(isa, settings);
}

LayerPointer byte_conv(const Isa& isa, const Frame& frame, std::span<const int8_t> weights,
                       std::span<const uint8_t> fill, const EndingSettings& ending) {
  require(frame.groups == 1, "groups: bytes have none");
  require(frame.products() <= kMostByteProducts, "window: too many products");
  check_weights(frame, weights);
  check_ending(ending, frame, true);
  ByteConvSettings settings;
  settings.input = frame.input;
  settings.window = frame.window;
  settings.outputs = frame.outputs;
  settings.weights = weights.data();
  settings.fill = per_channel(fill, frame, "fill");
  settings.ending = ending;
  return std::make_unique<ByteConv>(isa, settings);
}

LayerPointer byte_linear(const Isa& isa, const Frame& frame, float step, std::span<const int8_t> weights,
                         const EndingSettings& ending) {
  require(frame.groups == 1, "groups: bytes have none");
  require(frame.window.pad_y == 0 && frame.window.pad_x == 0, "padding: reals in levels have none");
  require(frame.products() <= kMostByteProducts, "window: too many products");
  check_weights(frame, weights);
  require(step > 0 && std::isfinite(step), "step: not a positive number");
  check_ending(ending, frame, true);
  if (frame.taps() == frame.input.positions())
    return std::make_unique<ByteLinear>(isa, frame.input, frame.outputs, step, weights.data(), ending);
  ByteConvSettings settings;
  settings.input = frame.input;
  settings.step = step;
  settings.window = frame.window;
  settings.outputs = frame.outputs;
  settings.weights = weights.data();
  settings.ending = ending;
  return std::make_unique<ByteConv>(isa, settings);
}

}  // namespace xnorlit
