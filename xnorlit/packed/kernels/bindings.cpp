// The extension module xnorlit.packed._kernels: an Engine that Python fills layer by layer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>

#include "engine.h"
#include "graph.h"
#include "settings.h"
#include "sign_layer.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace xnorlit;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using SignedBytes = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;
using Extents = std::vector<int>;

template <typename Number, typename Array>
std::vector<Number> all(const Array& array) {
  return std::vector<Number>(array.data(), array.data() + array.size());
}

// The values of an array, which outlives what is made of them.
template <typename Number>
std::span<const Number> view(const nb::ndarray<const Number, nb::c_contig, nb::device::cpu>& array) {
  return {array.data(), array.size()};
}

Operand operand_of(const std::string& form, int bits, bool scaled, bool ones, std::vector<float> mean,
                   std::vector<float> std) {
  return {operand_form(form), bits, scaled, ones, std::move(mean), std::move(std)};
}

// Planes that keep the array alive which they are in.
struct HeldPlanes {
  Bytes bits;
  std::vector<int> factors;
  int divisor;
  BitPlanes planes() const { return {view(bits), factors, divisor}; }
};

EndingSettings integer_bits(const Ints& thresholds, const Bytes& flips, const Bytes& changes, int planes, int levels,
                            const Extents& pool, bool per_position) {
  return bits_ending(pool_of(pool), per_position, planes, levels, all<int32_t>(thresholds), {}, all<uint8_t>(flips),
                     all<uint8_t>(changes));
}

EndingSettings real_bits(const Floats& thresholds, const Bytes& flips, const Bytes& changes, int planes, int levels,
                         const Extents& pool, bool per_position) {
  return bits_ending(pool_of(pool), per_position, planes, levels, {}, all<float>(thresholds), all<uint8_t>(flips),
                     all<uint8_t>(changes));
}

EndingSettings reals(const std::vector<Floats>& scales, const std::vector<Floats>& shifts,
                     const std::vector<Floats>& slopes, const Extents& pool, bool per_position) {
  require(scales.size() == shifts.size() && scales.size() == slopes.size(),
          "maps: as many shifts and slopes as scales");
  std::vector<Affine> maps;
  for (size_t i = 0; i < scales.size(); ++i)
    maps.push_back({all<float>(scales[i]), all<float>(shifts[i]), all<float>(slopes[i])});
  return reals_ending(pool_of(pool), per_position, std::move(maps));
}

using Words = nb::ndarray<const uint32_t, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<nb::c_contig, nb::device::cpu>;

void check_out(const Engine& engine, const Out& out, int64_t images, int threads) {
  require(out.itemsize() == 4, "out: elements of 4 bytes");
  require(static_cast<int64_t>(out.size()) == images * engine.output_elements(), "out: not the size of the output");
  require(threads > 0, "threads: 1 or more");
}

// Checks the images of a call and what it writes to; how many images there are.
template <typename Array, Value::Kind kind>
int64_t checked(const Engine& engine, const Array& in, const Out& out, int threads) {
  require(!engine.empty(), "the engine has no layers");
  const Value reads = engine.input();
  require(reads.kind == kind, "the first layer reads another kind of values");
  require(in.ndim() == 4 && static_cast<int64_t>(in.shape(1)) == reads.shape.height &&
              static_cast<int64_t>(in.shape(2)) == reads.shape.width &&
              static_cast<int64_t>(in.shape(3)) == reads.shape.channels,
          "images: not [N, height, width, channels] of the first layer");
  const auto images = static_cast<int64_t>(in.shape(0));
  check_out(engine, out, images, threads);
  return images;
}

template <typename Array, Value::Kind kind>
void run(const Engine& engine, const Array& in, const Out& out, int threads) {
  const int64_t images = checked<Array, kind>(engine, in, out, threads);
  nb::gil_scoped_release released;
  engine.run(in.data(), out.data(), images, threads);
}

// The same; the seconds of each layer.
std::vector<double> profile(const Engine& engine, const Bytes& in, const Out& out, int threads) {
  const int64_t images = checked<Bytes, Value::kPixels>(engine, in, out, threads);
  std::vector<double> seconds(engine.steps());
  nb::gil_scoped_release released;
  engine.run(in.data(), out.data(), images, threads, seconds.data());
  return seconds;
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
  const Frame frame(shape);
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

using Reals = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

// Checks the images of a graph's call and what it writes to; how many images there are.
int64_t checked(const GraphEngine& engine, const Bytes& in, int output, const Reals& out, int threads) {
  const Shape& reads = engine.value(0).shape;
  require(in.ndim() == 4 && static_cast<int64_t>(in.shape(1)) == reads.height &&
              static_cast<int64_t>(in.shape(2)) == reads.width && static_cast<int64_t>(in.shape(3)) == reads.channels,
          "images: not [N, height, width, channels] of the first value");
  require(engine.written(output), "output: reals that a step writes");
  const auto images = static_cast<int64_t>(in.shape(0));
  require(static_cast<int64_t>(out.size()) == images * engine.value(output).shape.values(),
          "out: not the size of the output");
  require(threads > 0, "threads: 1 or more");
  return images;
}

void run_graph(const GraphEngine& engine, const Bytes& in, int output, const Reals& out, int threads) {
  const int64_t images = checked(engine, in, output, out, threads);
  nb::gil_scoped_release released;
  engine.run(in.data(), output, out.data(), images, threads);
}

// The same; the seconds of each step.
std::vector<double> profile_graph(const GraphEngine& engine, const Bytes& in, int output, const Reals& out,
                                  int threads) {
  const int64_t images = checked(engine, in, output, out, threads);
  std::vector<double> seconds(engine.steps());
  nb::gil_scoped_release released;
  engine.run(in.data(), output, out.data(), images, threads, seconds.data());
  return seconds;
}

}  // namespace

NB_MODULE(_kernels, module) {
  // The instruction sets that this processor runs, fastest first.
  module.def("isas", [] {
    std::vector<std::string> names;
    for (const Isa* isa : runnable_isas()) names.emplace_back(isa->name);
    return names;
  });
  // Multiply-adds done by `rounds` of a loop: `floats` and `bits` on registers alone, `tile` in the first-level cache.
  module.def(
      "spin",
      [](const std::string& isa, const std::string& what, int64_t rounds) {
        const Isa& chosen = isa_named(isa);
        nb::gil_scoped_release released;
        if (what == "floats") return chosen.spin_floats(rounds);
        if (what == "bits") return chosen.spin_bits(rounds);
        if (what == "tile") return spin_tile(chosen, rounds);
        throw std::invalid_argument("spin: floats, bits or tile");
      },
      "isa"_a, "what"_a, "rounds"_a);
  // Arrays as they are: a conversion would turn reals into bytes without a word.
  nb::class_<Frame>(module, "Frame")
      .def(nb::init<const Extents&, const Extents&, int, int>(), nb::kw_only(), "shape"_a, "window"_a, "groups"_a = 1,
           "outputs"_a);
  nb::class_<Operand>(module, "Operand")
      .def(
          "__init__",
          [](Operand* operand, const std::string& form, int bits, bool scaled, bool ones, std::vector<float> mean,
             std::vector<float> std) {
            new (operand) Operand(operand_of(form, bits, scaled, ones, std::move(mean), std::move(std)));
          },
          "form"_a, nb::kw_only(), "bits"_a = 1, "scaled"_a = false, "ones"_a = false, "mean"_a = std::vector<float>(),
          "std"_a = std::vector<float>());
  nb::class_<HeldPlanes>(module, "Planes")
      .def(
          "__init__",
          [](HeldPlanes* planes, const Bytes& bits, const std::vector<int>& factors, int divisor) {
            new (planes) HeldPlanes{bits, factors, divisor};
          },
          "bits"_a.noconvert(), nb::kw_only(), "factors"_a, "divisor"_a);
  nb::class_<EndingSettings>(module, "Ending")
      .def_static("bits", &integer_bits, nb::kw_only(), "thresholds"_a.noconvert(), "flips"_a.noconvert(),
                  "changes"_a.noconvert(), "planes"_a, "levels"_a, "pool"_a = Extents(), "per_position"_a = false)
      .def_static("bits", &real_bits, nb::kw_only(), "thresholds"_a.noconvert(), "flips"_a.noconvert(),
                  "changes"_a.noconvert(), "planes"_a, "levels"_a, "pool"_a = Extents(), "per_position"_a = false)
      .def_static("reals", &reals, nb::kw_only(), "scales"_a.noconvert(), "shifts"_a.noconvert(),
                  "slopes"_a.noconvert(), "pool"_a = Extents(), "per_position"_a = false)
      .def_static(
          "sums", [](const Extents& pool) { return sums_ending(pool_of(pool)); }, nb::kw_only(), "pool"_a = Extents());
  nb::class_<AnyEngine>(module, "AnyEngine")
      .def_prop_ro("isa", [](const AnyEngine& engine) { return std::string(engine.isa().name); })
      .def_prop_ro("resident_bytes", &AnyEngine::resident_bytes)
      .def_prop_ro("arena_bytes", &AnyEngine::arena_bytes)
      .def(
          "add_binary",
          [](AnyEngine& engine, const Frame& frame, const Operand& operand, const HeldPlanes& weights,
             const EndingSettings& ending) {
            engine.add(binary_layer(engine.isa(), frame, operand, weights.planes(), ending));
          },
          "frame"_a, "operand"_a, "weights"_a, "ending"_a)
      .def(
          "add_real",
          [](AnyEngine& engine, const Frame& frame, const Operand& operand, const HeldPlanes& weights,
             const EndingSettings& ending) {
            engine.add(real_layer(engine.isa(), frame, operand, weights.planes(), ending));
          },
          "frame"_a, "operand"_a, "weights"_a, "ending"_a)
      .def(
          "add_real",
          [](AnyEngine& engine, const Frame& frame, const Operand& operand, const Floats& weights,
             const EndingSettings& ending) {
            engine.add(real_layer(engine.isa(), frame, operand, view(weights), ending));
          },
          "frame"_a, "operand"_a, "weights"_a.noconvert(), "ending"_a)
      .def(
          "add_double",
          [](AnyEngine& engine, const Frame& frame, const Operand& operand, const Floats& weights,
             const EndingSettings& ending) {
            engine.add(double_layer(engine.isa(), frame, operand, view(weights), ending));
          },
          "frame"_a, "operand"_a, "weights"_a.noconvert(), "ending"_a)
      .def(
          "add_byte_conv",
          [](AnyEngine& engine, const Frame& frame, const SignedBytes& weights, const Bytes& fill,
             const EndingSettings& ending) {
            engine.add(byte_conv(engine.isa(), frame, view(weights), view(fill), ending));
          },
          "frame"_a, "weights"_a.noconvert(), "fill"_a.noconvert(), "ending"_a)
      .def(
          "add_byte_linear",
          [](AnyEngine& engine, const Frame& frame, float step, const SignedBytes& weights,
             const EndingSettings& ending) {
            engine.add(byte_linear(engine.isa(), frame, step, view(weights), ending));
          },
          "frame"_a, "step"_a, "weights"_a.noconvert(), "ending"_a);
  nb::class_<Engine, AnyEngine>(module, "Engine")
      .def(nb::init<const std::string&>(), "isa"_a = "")
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
      .def(
          "add_sign",
          [](Engine& engine, const Extents& shape) {
            engine.add(std::make_unique<SignLayer>(engine.isa(), Frame(shape).input));
          },
          "shape"_a)
      .def("run", &run<Bytes, Value::kPixels>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run<Floats, Value::kReals>, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("profile", &profile, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run_words, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
  nb::class_<Tail>(module, "Tail")
      .def(
          "__init__", [](Tail* tail, const Extents& shape) { new (tail) Tail(Frame(shape).input); }, "shape"_a)
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
  nb::class_<GraphEngine, AnyEngine>(module, "GraphEngine")
      .def(nb::init<const std::string&>(), "isa"_a = "")
      .def("add_value", &add_value, nb::kw_only(), "form"_a, "shape"_a, "planes"_a = 1, "padding"_a = Extents{0, 0},
           "ones"_a = false, "slot"_a)
      .def("wire", nb::overload_cast<int, int>(&GraphEngine::wire), "reads"_a, "writes"_a)
      .def(
          "wire", [](GraphEngine& engine, int reads, Tail& tail) { engine.wire(reads, moved(tail)); }, "reads"_a,
          "tail"_a)
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
      .def_prop_ro("steps", &GraphEngine::steps)
      .def("profile", &profile_graph, "images"_a.noconvert(), "output"_a, "out"_a.noconvert(), "threads"_a)
      .def("run", &run_graph, "images"_a.noconvert(), "output"_a, "out"_a.noconvert(), "threads"_a);
}
