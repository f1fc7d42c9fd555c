// The extension module xnorlit.packed._kernels: an Engine that Python fills layer by layer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>

#include "engine.h"
#include "settings.h"
#include "sign_layer.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace xnorlit;

namespace {

using Extents = std::vector<int>;

template <typename Number, typename Array>
std::vector<Number> all(const Array& array) {
  return std::vector<Number>(array.data(), array.data() + array.size());
}

EndingSettings integer_bits(const Extents& pool, bool per_position, int planes, int levels, const Ints& thresholds,
                            const Bytes& flips, const Bytes& changes) {
  return bits_ending(pool, per_position, planes, levels, all<int32_t>(thresholds), {}, all<uint8_t>(flips),
                     all<uint8_t>(changes));
}

EndingSettings real_bits(const Extents& pool, bool per_position, int planes, int levels, const Floats& thresholds,
                         const Bytes& flips, const Bytes& changes) {
  return bits_ending(pool, per_position, planes, levels, {}, all<float>(thresholds), all<uint8_t>(flips),
                     all<uint8_t>(changes));
}

EndingSettings reals(const Extents& pool, bool per_position, const std::vector<Floats>& scales,
                     const std::vector<Floats>& shifts, const std::vector<Floats>& slopes) {
  require(scales.size() == shifts.size() && scales.size() == slopes.size(), "maps: as many shifts and slopes as scales");
  EndingSettings ending;
  ending.form = EndingSettings::kReals;
  ending.pool = pool_of(pool);
  ending.per_position = per_position;
  for (size_t i = 0; i < scales.size(); ++i)
    ending.maps.push_back({all<float>(scales[i]), all<float>(shifts[i]), all<float>(slopes[i])});
  return ending;
}

EndingSettings sums(const Extents& pool) {
  EndingSettings ending;
  ending.pool = pool_of(pool);
  return ending;
}

void add_sign(Engine& engine, const Extents& shape) {
  const Frame frame(shape, {1, 1, 1, 1, 0, 0}, 1, 1);
  engine.add(std::make_unique<SignLayer>(engine.path(), frame.input));
}

void add_binary(Engine& engine, const Extents& shape, const Extents& window, int groups, int outputs,
                const Bytes& weights, int bits, bool signed_inputs, bool scaled, const std::vector<int>& factors,
                int divisor, const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  engine.add(std::make_unique<BinaryLayer>(
      engine.path(), binary_settings(frame, weights, bits, signed_inputs, scaled, factors, divisor, ending)));
}

// `operand`: pixels, normalised with mean and std; signs; codes of `bits` bits; or reals.
RealSettings real_settings(const Frame& frame, const std::string& operand, int bits, const Floats& mean,
                           const Floats& std, const EndingSettings& ending) {
  RealSettings settings;
  settings.signed_inputs = operand == "signs";
  if (operand == "pixels") {
    settings.input = {Value::kPixels, frame.input};
    settings.mean = numbers<float>(mean, frame.input.channels, "mean");
    settings.std = numbers<float>(std, frame.input.channels, "std");
  } else if (operand == "reals") {
    settings.input = {Value::kReals, frame.input};
  } else {
    require(operand == "signs" || operand == "codes", "operand: pixels, reals, signs or codes");
    require(bits >= 1 && bits <= 8 && (bits == 1 || operand == "codes"), "bits: 1 to 8, signs have one");
    settings.input = {Value::kBits, frame.input, bits};
  }
  settings.window = frame.window;
  settings.groups = frame.groups;
  settings.outputs = frame.outputs;
  check_ending(ending, frame, false);
  settings.ending = ending;
  return settings;
}

void add_real(Engine& engine, const Extents& shape, const Extents& window, int groups, int outputs,
              const Floats& weights, const std::string& operand, int bits, const Floats& mean, const Floats& std,
              const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  RealSettings settings = real_settings(frame, operand, bits, mean, std, ending);
  require(static_cast<int64_t>(weights.size()) == frame.products() * outputs, "weights: not outputs x kernel x channels");
  frame.check_growth(frame.float_bytes(), weights.nbytes());
  settings.weights = weights.data();
  engine.add(std::make_unique<RealLayer>(engine.path(), settings));
}

void add_real_planes(Engine& engine, const Extents& shape, const Extents& window, int groups, int outputs,
                     const Bytes& weights, const std::vector<int>& factors, int divisor, const std::string& operand,
                     int bits, const Floats& mean, const Floats& std, const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  RealSettings settings = real_settings(frame, operand, bits, mean, std, ending);
  require(!factors.empty() && factors.size() <= 16, "factors: 1 to 16");
  require(divisor == 1 || divisor == 2, "divisor: 1 or 2");
  require(static_cast<int64_t>(weights.size()) ==
              static_cast<int64_t>(factors.size()) * outputs * frame.taps() * frame.octets(),
          "weights: not planes x outputs x kernel x bytes of channels");
  frame.check_growth(frame.sign_bytes(static_cast<int>(factors.size())), weights.nbytes());
  settings.planes = {weights.data(), factors, divisor};
  engine.add(std::make_unique<RealLayer>(engine.path(), settings));
}

void add_byte_conv(Engine& engine, const Extents& shape, const Extents& window, int outputs, const SignedBytes& weights,
                   const Bytes& fill, const EndingSettings& ending) {
  const Frame frame(shape, window, 1, outputs);
  require(frame.products() <= kMostByteProducts, "window: too many products");
  require(static_cast<int64_t>(weights.size()) == frame.products() * outputs, "weights: not outputs x kernel x channels");
  check_ending(ending, frame, true);
  ByteConvSettings settings;
  settings.input = frame.input;
  settings.window = frame.window;
  settings.outputs = outputs;
  settings.weights = weights.data();
  settings.fill = numbers<uint8_t>(fill, frame.input.channels, "fill");
  settings.ending = ending;
  engine.add(std::make_unique<ByteConv>(engine.path(), settings));
}

void add_byte_linear(Engine& engine, const Extents& shape, int outputs, float step, const SignedBytes& weights,
                     const EndingSettings& ending) {
  require(shape.size() == 3, "shape: expected (height, width, channels)");
  const Frame frame(shape, {shape[0], shape[1], 1, 1, 0, 0}, 1, outputs);
  require(frame.products() <= kMostByteProducts, "shape: too many products");
  require(static_cast<int64_t>(weights.size()) == frame.products() * outputs, "weights: not outputs x inputs");
  require(step > 0 && std::isfinite(step), "step: not a positive number");
  check_ending(ending, frame, true);
  engine.add(std::make_unique<ByteLinear>(engine.path(), frame.input, outputs, step, weights.data(), ending));
}

using Words = nb::ndarray<const uint32_t, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<nb::c_contig, nb::device::cpu>;

void check_out(const Engine& engine, const Out& out, int64_t images, int threads) {
  require(out.itemsize() == 4, "out: elements of 4 bytes");
  require(static_cast<int64_t>(out.size()) == images * engine.output_elements(), "out: not the size of the output");
  require(threads > 0, "threads: 1 or more");
}

template <typename Array, Value::Kind kind>
void run(const Engine& engine, const Array& in, const Out& out, int threads) {
  require(!engine.empty(), "the engine has no layers");
  const Value reads = engine.input();
  require(reads.kind == kind, "the first layer reads another kind of values");
  require(in.ndim() == 4 && static_cast<int64_t>(in.shape(1)) == reads.shape.height &&
              static_cast<int64_t>(in.shape(2)) == reads.shape.width &&
              static_cast<int64_t>(in.shape(3)) == reads.shape.channels,
          "images: not [N, height, width, channels] of the first layer");
  const auto images = static_cast<int64_t>(in.shape(0));
  check_out(engine, out, images, threads);
  nb::gil_scoped_release released;
  engine.run(in.data(), out.data(), images, threads);
}

// Bits as the first layer's map holds them, border included: [N, words].
void run_words(const Engine& engine, const Words& in, const Out& out, int threads) {
  require(!engine.empty(), "the engine has no layers");
  require(engine.input().kind == Value::kBits, "the first layer reads another kind of values");
  require(in.ndim() == 2 && static_cast<int64_t>(in.shape(1)) == engine.input_words(),
          "images: not [N, words] of the first layer's map");
  const auto images = static_cast<int64_t>(in.shape(0));
  check_out(engine, out, images, threads);
  nb::gil_scoped_release released;
  engine.run(in.data(), out.data(), images, threads);
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
  // Arrays as they are: a conversion would turn reals into bytes without a word.
  nb::class_<EndingSettings>(module, "Ending")
      .def_static("bits", &integer_bits, "pool"_a, "per_position"_a, "planes"_a, "levels"_a, "thresholds"_a.noconvert(),
                  "flips"_a.noconvert(), "changes"_a.noconvert())
      .def_static("bits", &real_bits, "pool"_a, "per_position"_a, "planes"_a, "levels"_a, "thresholds"_a.noconvert(),
                  "flips"_a.noconvert(), "changes"_a.noconvert())
      .def_static("reals", &reals, "pool"_a, "per_position"_a, "scales"_a.noconvert(), "shifts"_a.noconvert(),
                  "slopes"_a.noconvert())
      .def_static("sums", &sums, "pool"_a);
  nb::class_<Engine>(module, "Engine")
      .def(nb::init<const std::string&>(), "path"_a = "")
      .def_prop_ro("path", [](const Engine& engine) { return std::string(engine.path().name); })
      .def_prop_ro("resident_bytes", &Engine::resident_bytes)
      .def_prop_ro("arena_bytes", &Engine::arena_bytes)
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
      .def("add_binary", &add_binary, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(), "bits"_a,
           "signed_inputs"_a, "scaled"_a, "factors"_a, "divisor"_a, "ending"_a)
      .def("add_real", &add_real, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(), "operand"_a,
           "bits"_a, "mean"_a.noconvert(), "std"_a.noconvert(), "ending"_a)
      .def("add_real_planes", &add_real_planes, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(),
           "factors"_a, "divisor"_a, "operand"_a, "bits"_a, "mean"_a.noconvert(), "std"_a.noconvert(), "ending"_a)
      .def("add_byte_conv", &add_byte_conv, "shape"_a, "window"_a, "outputs"_a, "weights"_a.noconvert(),
           "fill"_a.noconvert(), "ending"_a)
      .def("add_byte_linear", &add_byte_linear, "shape"_a, "outputs"_a, "step"_a, "weights"_a.noconvert(), "ending"_a)
      .def("run", &run<Bytes, Value::kPixels>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run<Floats, Value::kReals>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run_words, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
}
