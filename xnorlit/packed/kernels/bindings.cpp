// The extension module xnorlit.packed._kernels: an Engine that Python fills layer by layer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>

#include "double_layer.h"
#include "engine.h"
#include "graph.h"
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
  require(scales.size() == shifts.size() && scales.size() == slopes.size(),
          "maps: as many shifts and slopes as scales");
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

// What adds layers to an Engine or, where its wires say, to a GraphEngine.
template <typename Target>
void add_binary(Target& engine, const Extents& shape, const Extents& window, int groups, int outputs,
                const Bytes& weights, int bits, bool signed_inputs, bool scaled, const std::vector<int>& factors,
                int divisor, const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  engine.add(std::make_unique<BinaryLayer>(
      engine.path(), binary_settings(frame, weights, bits, signed_inputs, scaled, factors, divisor, false, ending)));
}

// Signs whose border is +1.
void add_bordered(GraphEngine& engine, const Extents& shape, const Extents& window, int groups, int outputs,
                  const Bytes& weights, const std::vector<int>& factors, int divisor, const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  engine.add(std::make_unique<BinaryLayer>(
      engine.path(), binary_settings(frame, weights, 1, true, false, factors, divisor, true, ending)));
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

template <typename Target>
void add_real(Target& engine, const Extents& shape, const Extents& window, int groups, int outputs,
              const Floats& weights, const std::string& operand, int bits, const Floats& mean, const Floats& std,
              const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  RealSettings settings = real_settings(frame, operand, bits, mean, std, ending);
  require(static_cast<int64_t>(weights.size()) == frame.products() * outputs,
          "weights: not outputs x kernel x channels");
  frame.check_growth(frame.float_bytes(), weights.nbytes());
  settings.weights = weights.data();
  engine.add(std::make_unique<RealLayer>(engine.path(), settings));
}

void add_double(GraphEngine& engine, const Extents& shape, const Extents& window, int groups, int outputs,
                const Floats& weights, const std::string& operand, int bits, const Floats& mean, const Floats& std,
                const EndingSettings& ending) {
  const Frame frame(shape, window, groups, outputs);
  RealSettings settings = real_settings(frame, operand, bits, mean, std, ending);
  require(static_cast<int64_t>(weights.size()) == frame.products() * outputs,
          "weights: not outputs x kernel x channels");
  if (frame.products() != frame.taps() || groups != outputs) frame.check_growth(frame.double_bytes(), weights.nbytes());
  settings.weights = weights.data();
  engine.add(std::make_unique<DoubleLayer>(engine.path(), settings));
}

template <typename Target>
void add_real_planes(Target& engine, const Extents& shape, const Extents& window, int groups, int outputs,
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

template <typename Target>
void add_byte_conv(Target& engine, const Extents& shape, const Extents& window, int outputs, const SignedBytes& weights,
                   const Bytes& fill, const EndingSettings& ending) {
  const Frame frame(shape, window, 1, outputs);
  require(frame.products() <= kMostByteProducts, "window: too many products");
  require(static_cast<int64_t>(weights.size()) == frame.products() * outputs,
          "weights: not outputs x kernel x channels");
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

template <typename Target>
void add_byte_linear(Target& engine, const Extents& shape, int outputs, float step, const SignedBytes& weights,
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

std::unique_ptr<Tail> moved(Tail& tail) {
  auto taken = std::make_unique<Tail>(std::move(tail));
  tail = Tail({0, 0, 0});
  return taken;
}

int add_value(GraphEngine& engine, const std::string& form, const Extents& shape, int planes, const Extents& padding,
              bool ones, int slot) {
  const Frame frame(shape, {1, 1, 1, 1, 0, 0}, 1, 1);
  require(form == "pixels" || form == "reals" || form == "bits", "form: pixels, reals or bits");
  require(planes >= 1 && planes <= 8 && (planes == 1 || form == "bits"), "planes: 1 to 8");
  require(padding.size() == 2 && padding[0] >= 0 && padding[1] >= 0 && padding[0] <= kLargest && padding[1] <= kLargest,
          "padding: (vertical, horizontal), 0 or more");
  require(!ones || planes == 1, "ones: of signs");
  const Value::Kind kind = form == "pixels" ? Value::kPixels : form == "reals" ? Value::kReals : Value::kBits;
  require(kind == Value::kBits || (!ones && !padding[0] && !padding[1]), "padding: of bits");
  const int64_t rows = int64_t{shape[0]} + 2 * padding[0], columns = int64_t{shape[1]} + 2 * padding[1];
  require(rows * columns <= kMostBytes / (4 * planes) / (shape[2] / 32 + 1), "padding: too large a map");
  return engine.add_value({kind, frame.input, planes}, padding[0], padding[1], ones, slot);
}

void run_graph(const GraphEngine& engine, const Bytes& in, int output,
               const nb::ndarray<float, nb::c_contig, nb::device::cpu>& out, int threads) {
  const Shape& reads = engine.value(0).shape;
  require(in.ndim() == 4 && static_cast<int64_t>(in.shape(1)) == reads.height &&
              static_cast<int64_t>(in.shape(2)) == reads.width && static_cast<int64_t>(in.shape(3)) == reads.channels,
          "images: not [N, height, width, channels] of the first value");
  require(engine.written(output), "output: reals that a step writes");
  const auto images = static_cast<int64_t>(in.shape(0));
  require(static_cast<int64_t>(out.size()) == images * engine.value(output).shape.values(),
          "out: not the size of the output");
  require(threads > 0, "threads: 1 or more");
  nb::gil_scoped_release released;
  engine.run(in.data(), output, out.data(), images, threads);
}

// The methods that an Engine and a GraphEngine have in common.
template <typename Target, typename Class>
void add_methods(Class& class_) {
  class_.def_prop_ro("path", [](const Target& engine) { return std::string(engine.path().name); })
      .def_prop_ro("resident_bytes", &Target::resident_bytes)
      .def_prop_ro("arena_bytes", &Target::arena_bytes)
      .def("add_binary", &add_binary<Target>, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(),
           "bits"_a, "signed_inputs"_a, "scaled"_a, "factors"_a, "divisor"_a, "ending"_a)
      .def("add_real", &add_real<Target>, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(),
           "operand"_a, "bits"_a, "mean"_a.noconvert(), "std"_a.noconvert(), "ending"_a)
      .def("add_real_planes", &add_real_planes<Target>, "shape"_a, "window"_a, "groups"_a, "outputs"_a,
           "weights"_a.noconvert(), "factors"_a, "divisor"_a, "operand"_a, "bits"_a, "mean"_a.noconvert(),
           "std"_a.noconvert(), "ending"_a)
      .def("add_byte_conv", &add_byte_conv<Target>, "shape"_a, "window"_a, "outputs"_a, "weights"_a.noconvert(),
           "fill"_a.noconvert(), "ending"_a)
      .def("add_byte_linear", &add_byte_linear<Target>, "shape"_a, "outputs"_a, "step"_a, "weights"_a.noconvert(),
           "ending"_a);
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
  auto engine = nb::class_<Engine>(module, "Engine");
  add_methods<Engine>(engine);
  engine.def(nb::init<const std::string&>(), "path"_a = "")
      .def_prop_ro("output_elements",
                   [](const Engine& engine) {
                     require(!engine.empty(), "the engine has no layers");
                     return engine.output_elements();
                   })
      .def_prop_ro("output_shape",
                   [](const Engine& engine) {
                     require(!engine.empty(), "the engine has no layers");
                     const Shape shape = engine.output().shape;
                     return nb::make_tuple(shape.height, shape.width, shape.channels);
                   })
      .def("add_sign", &add_sign, "shape"_a)
      .def("run", &run<Bytes, Value::kPixels>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run<Floats, Value::kReals>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run_words, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
  nb::class_<Tail>(module, "Tail")
      .def(
          "__init__",
          [](Tail* tail, const Extents& shape) { new (tail) Tail(Frame(shape, {1, 1, 1, 1, 0, 0}, 1, 1).input); },
          "shape"_a)
      .def(
          "affine",
          [](Tail& tail, const Floats& scale, const Floats& shift) {
            tail.affine(all<float>(scale), all<float>(shift));
          },
          "scale"_a.noconvert(), "shift"_a.noconvert())
      .def(
          "shift", [](Tail& tail, const Floats& shift) { tail.shift(all<float>(shift)); }, "shift"_a.noconvert())
      .def(
          "slopes",
          [](Tail& tail, const Floats& above, const Floats& below) {
            tail.slopes(all<float>(above), all<float>(below));
          },
          "above"_a.noconvert(), "below"_a.noconvert())
      .def("clip", &Tail::clip, "low"_a, "high"_a)
      .def("add", &Tail::add, "value"_a)
      .def("store", &Tail::store, "value"_a)
      .def(
          "sign",
          [](Tail& tail, const Floats& thresholds, const Bytes& flips, int value) {
            tail.sign(all<float>(thresholds), all<uint8_t>(flips), value);
          },
          "thresholds"_a.noconvert(), "flips"_a.noconvert(), "value"_a)
      .def(
          "window",
          [](Tail& tail, const Floats& scale, const Floats& window_scale, const Floats& constant,
             const std::vector<int>& row_ways, const std::vector<int>& column_ways) {
            tail.window(all<float>(scale), all<float>(window_scale), all<float>(constant), row_ways, column_ways);
          },
          "scale"_a.noconvert(), "window_scale"_a.noconvert(), "constant"_a.noconvert(), "row_ways"_a, "column_ways"_a);
  auto graph = nb::class_<GraphEngine>(module, "GraphEngine");
  add_methods<GraphEngine>(graph);
  graph.def(nb::init<const std::string&>(), "path"_a = "")
      .def("add_value", &add_value, "form"_a, "shape"_a, "planes"_a, "padding"_a, "ones"_a, "slot"_a)
      .def("wire", nb::overload_cast<int, int>(&GraphEngine::wire), "reads"_a, "writes"_a)
      .def(
          "wire", [](GraphEngine& engine, int reads, Tail& tail) { engine.wire(reads, moved(tail)); }, "reads"_a,
          "tail"_a)
      .def("add_bordered", &add_bordered, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(),
           "factors"_a, "divisor"_a, "ending"_a)
      .def("add_double", &add_double, "shape"_a, "window"_a, "groups"_a, "outputs"_a, "weights"_a.noconvert(),
           "operand"_a, "bits"_a, "mean"_a.noconvert(), "std"_a.noconvert(), "ending"_a)
      .def(
          "add_tail", [](GraphEngine& engine, int reads, Tail& tail) { engine.add_tail(reads, moved(tail)); },
          "reads"_a, "tail"_a)
      .def(
          "add_max_pool",
          [](GraphEngine& engine, int reads, int writes, const Extents& pool) {
            engine.add_max_pool(reads, writes, pool_of(pool));
          },
          "reads"_a, "writes"_a, "pool"_a)
      .def(
          "add_average_pool",
          [](GraphEngine& engine, int reads, int writes, const Extents& pool) {
            engine.add_average_pool(reads, writes, pool_of(pool));
          },
          "reads"_a, "writes"_a, "pool"_a)
      .def("add_global_average", &GraphEngine::add_global_average, "reads"_a, "writes"_a)
      .def("add_subsample", &GraphEngine::add_subsample, "reads"_a, "writes"_a, "stride"_a, "before"_a)
      .def("add_concat", &GraphEngine::add_concat, "reads"_a, "writes"_a)
      .def("add_copy", &GraphEngine::add_copy, "reads"_a, "writes"_a)
      .def("add_flat", &GraphEngine::add_flat, "reads"_a)
      .def("run", &run_graph, "images"_a.noconvert(), "output"_a, "out"_a.noconvert(), "threads"_a);
}
