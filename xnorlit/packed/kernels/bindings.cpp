// The extension module xnorlit.packed._kernels: an Engine that Python fills layer by layer.
//
// Python's reader (xnorlit/packed/graph.py) has validated a file before anything comes here and its messages name the
// file's fields. What is checked here is what memory safety needs, whoever calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "binary_layer.h"
#include "byte_layers.h"
#include "engine.h"
#include "real_layers.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace xnorlit;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using SignedBytes = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;

// Every product of three extents fits 64 bits, and every window's length 31.
constexpr int kLargest = 1 << 20;
// Sums of products of bytes stay within 31 bits.
constexpr int64_t kMostByteProducts = std::numeric_limits<int32_t>::max() / (255 * 128);
constexpr int64_t kMostBytes = int64_t{1} << 34;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

template <typename Number, typename Array>
std::vector<Number> numbers(const Array& array, int64_t count, const char* what) {
  if (static_cast<int64_t>(array.size()) != count)
    throw std::invalid_argument(std::string(what) + ": " + std::to_string(array.size()) + " values, expected " +
                                std::to_string(count));
  return std::vector<Number>(array.data(), array.data() + count);
}

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
  require(int64_t{window.kernel_y} * window.kernel_x <= kLargest &&
              int64_t{window.kernel_y} * window.kernel_x * (input.channels + 31) <= std::numeric_limits<int32_t>::max() / 4,
          "window: too many products");
  return window;
}

MaxPool pool_of(const std::vector<int>& values, const Shape& map) {
  if (values.empty()) return {};
  require(values.size() == 2 && values[0] > 0 && values[1] > 0 && values[1] <= kLargest, "pool: expected (size, stride)");
  require(values[0] <= map.height && values[0] <= map.width, "pool: larger than its input");
  return {values[0], values[1]};
}

std::vector<uint8_t> flips_of(const Bytes& array, int64_t count) {
  auto flips = numbers<uint8_t>(array, count, "flips");
  for (auto& flip : flips) flip = flip != 0;
  return flips;
}

void add_float_conv(Engine& engine, const std::vector<int>& shape, const std::vector<int>& window_values, int outputs,
                    const Floats& weights, const Floats& mean, const Floats& std, const std::vector<int>& pool,
                    const Floats& thresholds, const Bytes& flips) {
  FloatConvSettings settings;
  settings.input = shape_of(shape);
  settings.window = window_of(window_values, settings.input);
  require(outputs > 0 && outputs <= kLargest, "outputs: 1 to 2^20");
  const Window& window = settings.window;
  require(static_cast<int64_t>(weights.size()) ==
              int64_t{window.kernel_y} * window.kernel_x * settings.input.channels * outputs,
          "weights: not outputs x kernel x channels");
  settings.outputs = outputs;
  settings.weights = weights.data();
  settings.mean = numbers<float>(mean, settings.input.channels, "mean");
  settings.std = numbers<float>(std, settings.input.channels, "std");
  settings.pool = pool_of(pool, window.over(settings.input, outputs));
  settings.thresholds = numbers<float>(thresholds, outputs, "thresholds");
  settings.flips = flips_of(flips, outputs);
  engine.add(std::make_unique<FloatConv>(engine.path(), settings));
}

BinarySettings binary_settings(const std::vector<int>& shape, const std::vector<int>& window_values, int groups,
                               int outputs, const Bytes& weights, const std::vector<int>& pool) {
  BinarySettings settings;
  settings.input = shape_of(shape);
  settings.window = window_of(window_values, settings.input);
  require(outputs > 0 && outputs <= kLargest, "outputs: 1 to 2^20");
  require(groups > 0 && settings.input.channels % groups == 0 && outputs % groups == 0,
          "groups: must divide the input and the output channels");
  settings.groups = groups;
  settings.outputs = outputs;
  const Window& window = settings.window;
  const int64_t bytes = (settings.input.channels / groups + 7) / 8;
  require(static_cast<int64_t>(weights.size()) == int64_t{window.kernel_y} * window.kernel_x * bytes * outputs,
          "weights: not outputs x kernel x bytes of channels");
  settings.weights = weights.data();
  settings.ending.pool = pool_of(pool, window.over(settings.input, outputs));
  return settings;
}

void add_binary_to_bits(Engine& engine, const std::vector<int>& shape, const std::vector<int>& window, int groups,
                        int outputs, const Bytes& weights, const std::vector<int>& pool, const Ints& thresholds,
                        const Bytes& flips) {
  BinarySettings settings = binary_settings(shape, window, groups, outputs, weights, pool);
  Ending& ending = settings.ending;
  ending.form = Ending::kBits;
  const int64_t features = ending.pool.over(settings.window.over(settings.input, outputs)).values();
  ending.per_feature = static_cast<int64_t>(thresholds.size()) != outputs;
  ending.thresholds = numbers<int32_t>(thresholds, ending.per_feature ? features : outputs, "thresholds");
  ending.flips = flips_of(flips, static_cast<int64_t>(thresholds.size()));
  engine.add(std::make_unique<BinaryLayer>(engine.path(), settings));
}

void add_binary_to_reals(Engine& engine, const std::vector<int>& shape, const std::vector<int>& window, int groups,
                         int outputs, const Bytes& weights, const std::vector<int>& pool, const Floats& inner_scale,
                         const Floats& inner_shift, bool inner_relu, const Floats& scale, const Floats& shift,
                         bool relu) {
  BinarySettings settings = binary_settings(shape, window, groups, outputs, weights, pool);
  Ending& ending = settings.ending;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  ending.form = Ending::kReals;
  ending.inner_scale = numbers<float>(inner_scale, outputs, "inner scale");
  ending.inner_shift = numbers<float>(inner_shift, outputs, "inner shift");
  ending.inner_floor = inner_relu ? 0 : kNone;
  ending.scale = numbers<float>(scale, outputs, "scale");
  ending.shift = numbers<float>(shift, outputs, "shift");
  ending.floor = relu ? 0 : kNone;
  engine.add(std::make_unique<BinaryLayer>(engine.path(), settings));
}

void add_binary_to_sums(Engine& engine, const std::vector<int>& shape, const std::vector<int>& window, int groups,
                        int outputs, const Bytes& weights) {
  engine.add(std::make_unique<BinaryLayer>(engine.path(), binary_settings(shape, window, groups, outputs, weights, {})));
}

void add_float_linear(Engine& engine, const std::vector<int>& shape, int outputs, const Floats& weights,
                      const Floats& bias) {
  const Shape input = shape_of(shape);
  require(outputs > 0 && outputs <= kLargest && input.values() <= kMostBytes / outputs, "outputs: 1 to 2^20");
  engine.add(std::make_unique<FloatLinear>(engine.path(), input, outputs,
                                           numbers<float>(weights, input.values() * outputs, "weights"),
                                           numbers<float>(bias, outputs, "bias")));
}

void add_byte_conv(Engine& engine, const std::vector<int>& shape, const std::vector<int>& window_values, int outputs,
                   const SignedBytes& weights, const Bytes& fill, const std::vector<int>& pool, const Ints& thresholds,
                   const Bytes& flips) {
  ByteConvSettings settings;
  settings.input = shape_of(shape);
  settings.window = window_of(window_values, settings.input);
  require(outputs > 0 && outputs <= kLargest, "outputs: 1 to 2^20");
  const Window& window = settings.window;
  const int64_t products = int64_t{window.kernel_y} * window.kernel_x * settings.input.channels;
  require(products <= kMostByteProducts, "window: too many products");
  require(static_cast<int64_t>(weights.size()) == products * outputs, "weights: not outputs x kernel x channels");
  settings.outputs = outputs;
  settings.weights = weights.data();
  settings.fill = numbers<uint8_t>(fill, settings.input.channels, "fill");
  settings.pool = pool_of(pool, window.over(settings.input, outputs));
  settings.thresholds = numbers<int32_t>(thresholds, outputs, "thresholds");
  settings.flips = flips_of(flips, outputs);
  engine.add(std::make_unique<ByteConv>(engine.path(), settings));
}

void add_byte_linear(Engine& engine, const std::vector<int>& shape, int outputs, float step, const SignedBytes& weights,
                     const Floats& scale, const Floats& bias) {
  const Shape input = shape_of(shape);
  require(outputs > 0 && outputs <= kLargest, "outputs: 1 to 2^20");
  require(input.values() <= kMostByteProducts, "shape: too many products");
  require(static_cast<int64_t>(weights.size()) == input.values() * outputs, "weights: not outputs x inputs");
  require(step > 0 && std::isfinite(step), "step: not a positive number");
  engine.add(std::make_unique<ByteLinear>(engine.path(), input, outputs, step, weights.data(),
                                          numbers<float>(scale, outputs, "scale"),
                                          numbers<float>(bias, outputs, "bias")));
}

void add_sign(Engine& engine, const std::vector<int>& shape) {
  engine.add(std::make_unique<SignLayer>(engine.path(), shape_of(shape)));
}

template <typename Number>
void run_into(const Engine& engine, const Number* in, size_t ndim, const size_t* extents, void* out,
              int64_t out_elements, int threads, Value::Kind kind) {
  require(!engine.empty(), "the engine has no layers");
  const Value reads = engine.input();
  require(reads.kind == kind, "the first layer reads another kind of values");
  require(ndim == 4 && extents[1] == static_cast<size_t>(reads.shape.height) &&
              extents[2] == static_cast<size_t>(reads.shape.width) &&
              extents[3] == static_cast<size_t>(reads.shape.channels),
          "images: not [N, height, width, channels] of the first layer");
  const auto images = static_cast<int64_t>(extents[0]);
  require(out_elements == images * engine.output_elements(), "out: not the size of the output");
  require(threads > 0, "threads: 1 or more");
  nb::gil_scoped_release released;
  engine.run(in, out, images, threads);
}

using Out = nb::ndarray<nb::c_contig, nb::device::cpu>;

template <typename Array, Value::Kind kind>
void run(const Engine& engine, const Array& in, const Out& out, int threads) {
  require(out.itemsize() == 4, "out: elements of 4 bytes");
  std::vector<size_t> extents;
  for (size_t i = 0; i < in.ndim(); ++i) extents.push_back(in.shape(i));
  run_into(engine, in.data(), in.ndim(), extents.data(), out.data(), static_cast<int64_t>(out.size()), threads, kind);
}

}  // namespace

NB_MODULE(_kernels, module) {
  module.def("paths", [] {
    std::vector<std::string> names;
    for (const Path* path : runnable_paths()) names.emplace_back(path->name);
    return names;
  });
  // Multiply-adds done by `rounds` of a loop: `floats` and `bits` on registers alone, `tile` in the first-level cache.
  module.def(
      "spin",
      [](const std::string& path, const std::string& what, int64_t rounds) {
        const Path& chosen = path_named(path);
        nb::gil_scoped_release released;
        if (what == "floats") return chosen.spin_floats(rounds);
        if (what == "bits") return chosen.spin_bits(rounds);
        if (what == "tile") return spin_tile(chosen, rounds);
        throw std::invalid_argument("spin: floats, bits or tile");
      },
      "path"_a, "what"_a, "rounds"_a);
  nb::class_<Engine>(module, "Engine")
      .def(nb::init<const std::string&>(), "path"_a = "")
      .def_prop_ro("path", [](const Engine& engine) { return std::string(engine.path().name); })
      .def_prop_ro("resident_bytes", &Engine::resident_bytes)
      .def_prop_ro("output_elements", [](const Engine& engine) {
        require(!engine.empty(), "the engine has no layers");
        return engine.output_elements();
      })
      .def_prop_ro("output_shape", [](const Engine& engine) {
        require(!engine.empty(), "the engine has no layers");
        const Shape shape = engine.output().shape;
        return nb::make_tuple(shape.height, shape.width, shape.channels);
      })
      .def("add_sign", &add_sign, "shape"_a)
      // Arrays as they are: a conversion would turn reals into bytes without a word.
      .def("add_float_conv", &add_float_conv, "shape"_a, "window"_a, "outputs"_a, "weights"_a.noconvert(),
           "mean"_a.noconvert(), "std"_a.noconvert(), "pool"_a, "thresholds"_a.noconvert(), "flips"_a.noconvert())
      .def("add_binary_to_bits", &add_binary_to_bits, "shape"_a, "window"_a, "groups"_a, "outputs"_a,
           "weights"_a.noconvert(), "pool"_a, "thresholds"_a.noconvert(), "flips"_a.noconvert())
      .def("add_binary_to_reals", &add_binary_to_reals, "shape"_a, "window"_a, "groups"_a, "outputs"_a,
           "weights"_a.noconvert(), "pool"_a, "inner_scale"_a.noconvert(), "inner_shift"_a.noconvert(), "inner_relu"_a,
           "scale"_a.noconvert(), "shift"_a.noconvert(), "relu"_a)
      .def("add_binary_to_sums", &add_binary_to_sums, "shape"_a, "window"_a, "groups"_a, "outputs"_a,
           "weights"_a.noconvert())
      .def("add_float_linear", &add_float_linear, "shape"_a, "outputs"_a, "weights"_a.noconvert(),
           "bias"_a.noconvert())
      .def("add_byte_conv", &add_byte_conv, "shape"_a, "window"_a, "outputs"_a, "weights"_a.noconvert(),
           "fill"_a.noconvert(), "pool"_a, "thresholds"_a.noconvert(), "flips"_a.noconvert())
      .def("add_byte_linear", &add_byte_linear, "shape"_a, "outputs"_a, "step"_a, "weights"_a.noconvert(),
           "scale"_a.noconvert(), "bias"_a.noconvert())
      .def("run", &run<Bytes, Value::kPixels>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run<Floats, Value::kReals>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
}
