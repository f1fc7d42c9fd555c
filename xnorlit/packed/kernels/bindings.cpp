// The extension module xnorlit.packed._kernels: packed networks, and an Engine that Python fills layer by layer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "check.h"
#include "engine.h"
#include "json.h"
#include "bounds.h"
#include "network.h"
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

using Reals = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

// Arrays by name as the tensors of a file, which refer to them.
struct HeldTensors {
  explicit HeldTensors(const nb::dict& given) {
    for (const auto& [key, value] : given) {
      std::string name;
      if (!nb::try_cast(key, name)) throw FileError("a tensor's name: expected text");
      const std::string place = "tensor " + quoted(name) + ": ";
      Array& array = held.emplace_back();
      if (!nb::try_cast(value, array)) throw FileError(place + "expected an array");
      Tensor tensor;
      if (array.dtype() == nb::dtype<uint8_t>()) {
        tensor.type = Tensor::kU8;
      } else if (array.dtype() == nb::dtype<int8_t>()) {
        tensor.type = Tensor::kI8;
      } else if (array.dtype() == nb::dtype<int32_t>()) {
        tensor.type = Tensor::kI32;
      } else if (array.dtype() == nb::dtype<float>()) {
        tensor.type = Tensor::kF32;
      } else {
        throw FileError(place + "expected an array of uint8, int8, int32 or float32");
      }
      for (size_t i = 0; i < array.ndim(); ++i) tensor.shape.push_back(static_cast<int64_t>(array.shape(i)));
      tensor.bytes = {static_cast<const uint8_t*>(array.data()), array.nbytes()};
      tensors.emplace(std::move(name), std::move(tensor));
    }
  }

  std::vector<Array> held;
  Tensors tensors;
};

void network_of_file(Network* network, const Bytes& file, const std::string& isa) {
  nb::gil_scoped_release released;
  new (network) Network(view(file), isa);
}

void network_of_tensors(Network* network, const std::string& description, const nb::dict& tensors,
                        const std::string& isa, bool fuse) {
  const HeldTensors given(tensors);
  nb::gil_scoped_release released;
  new (network) Network(description, given.tensors, isa, fuse);
}

// Checks the images of a network's call and what it writes to; how many images there are.
int64_t checked(const Network& network, const Bytes& in, const Reals& out, int threads) {
  const Shape reads = network.document().input();
  require(in.ndim() == 4 && static_cast<int64_t>(in.shape(1)) == reads.height &&
              static_cast<int64_t>(in.shape(2)) == reads.width && static_cast<int64_t>(in.shape(3)) == reads.channels,
          "images: not [N, height, width, channels] of the network");
  const auto images = static_cast<int64_t>(in.shape(0));
  require(out.size() == images * network.document().classes.size(), "out: not the size of the logits");
  require(threads > 0, "threads: 1 or more");
  return images;
}

void run_network(const Network& network, const Bytes& in, const Reals& out, int threads) {
  const int64_t images = checked(network, in, out, threads);
  nb::gil_scoped_release released;
  network.run(in.data(), out.data(), images, threads);
}

// The same; the seconds of each step.
std::vector<double> profile_network(const Network& network, const Bytes& in, const Reals& out, int threads) {
  const int64_t images = checked(network, in, out, threads);
  std::vector<double> seconds(network.steps().size());
  nb::gil_scoped_release released;
  network.run(in.data(), out.data(), images, threads, seconds.data());
  return seconds;
}

std::vector<int64_t> step_bytes(const Network& network) {
  std::vector<int64_t> bytes;
  for (int step = 0; step < network.engine().steps(); ++step) bytes.push_back(network.engine().step_bytes(step));
  return bytes;
}

// What is known of a network before anything is allocated.
struct Plans {
  Plans(const std::string& description, const nb::dict& tensors, bool fuse)
      : document(Document::parse(description)), checked(check(document, HeldTensors(tensors).tensors, fuse)) {}

  std::vector<std::string> names(const std::vector<int>& nodes) const {
    std::vector<std::string> found;
    for (const int node : nodes) found.push_back(document.nodes[node].name);
    return found;
  }

  Document document;
  Checked checked;
};

std::vector<std::vector<std::string>> passes(const Plans& plans) {
  std::vector<std::vector<std::string>> found;
  for (const Stage& stage : plans.checked.plan.stages) {
    std::vector<int> nodes = stage.tail;
    if (stage.head >= 0) nodes.insert(nodes.begin(), stage.head);
    found.push_back(plans.names(nodes));
  }
  return found;
}

std::vector<std::string> stored(const Plans& plans) {
  std::vector<int> nodes;
  for (const Stage& stage : plans.checked.plan.stages)
    for (const Place& place : stage.stored) nodes.push_back(place.value - 1);
  return plans.names(nodes);
}

std::vector<int> slots(const Plans& plans) {
  std::vector<int> found;
  for (const auto& [place, slot] : plans.checked.plan.slots) found.push_back(slot);
  return found;
}

}  // namespace

NB_MODULE(_kernels, module) {
  nb::register_exception_translator(
      [](const std::exception_ptr& error, void* type) {
        try {
          std::rethrow_exception(error);
        } catch (const FileError& found) {
          PyErr_SetString(static_cast<PyObject*>(type), found.what());
        }
      },
      nb::object(nb::module_::import_("xnorlit.edge.fields").attr("FieldError")).release().ptr());
  module.attr("MOST_MAPS") = kMostMaps;
  module.attr("MOST_LEVELS") = kMostLevels;
  module.attr("SPARE_BYTES") = kSpareBytes;
  module.attr("LARGEST_ARENA") = kLargestArena;
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
  // The length of the header of a packed file of `size` bytes, from the first 8 of them.
  module.def(
      "header_bytes",
      [](const nb::bytes& first, uint64_t size) {
        return TensorFile::header_bytes({reinterpret_cast<const uint8_t*>(first.data()), first.size()}, size);
      },
      "first"_a, "size"_a);
  nb::class_<Network>(module, "Network")
      .def("__init__", &network_of_file, "file"_a.noconvert(), "isa"_a = "")
      .def("__init__", &network_of_tensors, "description"_a, "tensors"_a, "isa"_a = "", nb::kw_only(), "fuse"_a = true)
      .def_prop_ro("isa", [](const Network& network) { return std::string(network.engine().isa().name); })
      .def_prop_ro("resident_bytes", [](const Network& network) { return network.engine().resident_bytes(); })
      .def_prop_ro("arena_bytes", [](const Network& network) { return network.engine().arena_bytes(); })
      .def_prop_ro("steps", &Network::steps)
      .def_prop_ro("step_bytes", &step_bytes)
      .def("profile", &profile_network, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
      .def("run", &run_network, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
  // Refuses a description and tensors that are no packed network. `passes`: the nodes of each pass over a map;
  // `stored`: the values that a pass writes to memory; `slots`: the memory of each.
  nb::class_<Plans>(module, "Plan")
      .def(nb::init<const std::string&, const nb::dict&, bool>(), "description"_a, "tensors"_a, nb::kw_only(),
           "fuse"_a = true)
      .def_prop_ro("passes", &passes)
      .def_prop_ro("stored", &stored)
      .def_prop_ro("slots", &slots)
      .def_prop_ro("loaded_bytes", [](const Plans& plans) { return plans.checked.loaded_bytes; })
      .def_prop_ro("arena_bytes", [](const Plans& plans) { return plans.checked.arena_bytes; });
}
