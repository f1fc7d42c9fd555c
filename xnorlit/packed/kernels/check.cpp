#include "check.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "json.h"
#include "bounds.h"
#include "memory.h"

namespace xnorlit {
namespace {

constexpr const char* kForms[] = {"pixels", "signs", "codes", "reals"};
const char* name_of(Form form) { return kForms[static_cast<int>(form)]; }

[[noreturn]] void refuse(const std::string& place, const std::string& what) { throw FileError(place + ": " + what); }
std::string shown(int64_t number) { return std::to_string(number); }

std::string shown(const Shape& map) {
  return std::string("(") + shown(map.height) + ", " + shown(map.width) + ", " + shown(map.channels) + ")";
}

bool same(const Shape& one, const Shape& other) {
  return one.height == other.height && one.width == other.width && one.channels == other.channels;
}

struct Expected {
  Tensor::Type type;
  std::vector<int64_t> shape;
};
using Expectations = std::vector<std::pair<std::string, Expected>>;  // by the name behind the node's

Expectations layer_tensors(const LayerPart& layer, const Shape& at) {
  Expectations found;
  const Window look = layer.looks(at);
  const int64_t depth = at.channels / layer.groups, outputs = layer.outputs;
  const int64_t rows = look.kernel_y, columns = look.kernel_x;
  if (layer.weights == LayerPart::kPlanes) {
    const auto planes = static_cast<int64_t>(layer.factors.size());
    found.push_back({"weight", {Tensor::kU8, {planes, outputs, rows, columns, (depth + 7) / 8}}});
  } else {
    const auto type = layer.weights == LayerPart::kFloat ? Tensor::kF32 : Tensor::kI8;
    found.push_back({"weight", {type, {outputs, rows, columns, depth}}});
  }
  if (layer.reads == Form::kPixels && layer.weights == LayerPart::kInt8)
    found.push_back({"fill", {Tensor::kU8, {at.channels}}});
  const Shape made = layer.output(at);
  std::vector<int64_t> features = {outputs};
  if (layer.per_position) features = {made.height, made.width, made.channels};
  if (layer.window_sum) {
    const auto [row_ways, column_ways] = layer.overlaps(at);
    const auto ways = [](const std::vector<int>& all) {
      return int64_t{*std::max_element(all.begin(), all.end())} + 1;
    };
    found.push_back({"sum_scale", {Tensor::kF32, {outputs}}});
    found.push_back({"window_scale", {Tensor::kF32, {outputs}}});
    found.push_back({"constant", {Tensor::kF32, {ways(row_ways), ways(column_ways), outputs}}});
  }
  if (layer.gives == Form::kReals) {
    for (size_t i = 0; i < layer.slopes.size(); ++i) {
      found.push_back({"scale" + std::to_string(i), {Tensor::kF32, features}});
      found.push_back({"shift" + std::to_string(i), {Tensor::kF32, features}});
      if (!layer.slopes[i]) found.push_back({"slope" + std::to_string(i), {Tensor::kF32, features}});
    }
    return found;
  }
  int64_t count = 1;
  for (const int64_t extent : features) count *= extent;
  const int64_t octets = (count + 7) / 8;
  std::vector<int64_t> thresholds = {layer.levels};
  thresholds.insert(thresholds.end(), features.begin(), features.end());
  found.push_back({"threshold", {layer.integer() ? Tensor::kI32 : Tensor::kF32, thresholds}});
  found.push_back({"flip", {Tensor::kU8, {layer.given_bits, octets}}});
  if (layer.levels > 1 || layer.given_bits > 1)
    found.push_back({"change", {Tensor::kU8, {layer.levels, layer.given_bits, octets}}});
  return found;
}

Expectations node_tensors(const Node& node, const Shape& at) {
  const Expected each = {Tensor::kF32, {at.channels}};
  Expectations found;
  switch (node.kind) {
    case Node::kLayer: return layer_tensors(node.layer, at);
    case Node::kAffine: return {{"scale", each}, {"shift", each}};
    case Node::kShift: return {{"shift", each}};
    case Node::kTwoSlope:
      if (!node.above) found.push_back({"above", each});
      if (!node.below) found.push_back({"below", each});
      return found;
    case Node::kSign: return {{"threshold", each}, {"flip", {Tensor::kU8, {(int64_t{at.channels} + 7) / 8}}}};
    default: return found;
  }
}

class Checker {
 public:
  Checker(Document& document, const Tensors& tensors, bool fuse)
      : document_(document), tensors_(tensors), fuse_(fuse) {}

  Checked run() {
    Checked checked;
    flows_.push_back({Form::kPixels, 1, document_.input()});
    for (size_t i = 0; i < document_.nodes.size(); ++i) numbers_.emplace(document_.nodes[i].name, i);
    int64_t maps = 0, scratch = 0;
    std::vector<bool> read(document_.nodes.size() + 1);
    for (size_t i = 0; i < document_.nodes.size(); ++i) {
      const Node& node = document_.nodes[i];
      const std::string place = document_.place(i);
      number_inputs(i);
      std::vector<Flow> inputs;
      for (const int value : node.reads) {
        inputs.push_back(flows_[value]);
        read[value] = true;
      }
      check_inputs(node, inputs, place);
      check_tensors(node, inputs[0].map, place);
      checked.loaded_bytes.push_back(node.kind == Node::kLayer ? check_growth(node, inputs[0].map, place) : 0);
      if (document_.chain) {
        maps += i ? input_bytes(node.layer, inputs[0].map) : 0;
        scratch = std::max(scratch, scratch_bytes(node.layer, inputs[0].map));
        checked.arena_bytes = maps + scratch;
        if (checked.arena_bytes > kLargestArena)
          refuse(place, "the maps up to here take more than " + shown(kLargestArena) + " bytes for one image");
      }
      flows_.push_back(flow(node, inputs));
      const Shape& made = flows_.back().map;
      if (!document_.chain && (made.values() > kLargestMap || made.channels > kMostClasses))
        refuse(place, "a map of " + shown(made) + " has more than " + shown(kMostClasses) + " channels or " +
                          shown(kLargestMap) + " values for one image");
    }
    if (!document_.chain) {
      check_read(read);
      checked.plan = plan(document_, flows_, fuse_);
      checked.arena_bytes = checked.plan.arena_bytes;
      if (checked.arena_bytes > kLargestArena)
        refuse("nodes",
               "the maps that are needed at once take more than " + shown(kLargestArena) + " bytes for one image");
    }
    check_end();
    checked.flows = std::move(flows_);
    return checked;
  }

 private:
  std::string kind() const { return document_.chain ? "layers" : "nodes"; }

  // Numbers what node i reads.
  void number_inputs(size_t i) {
    Node& node = document_.nodes[i];
    const size_t first = numbers_.at(node.name);
    if (document_.chain) {
      if (first != i) refuse(document_.place(i) + ".name", quoted(node.name) + " is the name of another layer too");
      node.reads = {static_cast<int>(i)};
      return;
    }
    if (node.name == "pixels") refuse(document_.place(i) + ".name", "'pixels' is the name of the image too");
    if (first != i)
      refuse(document_.place(i) + ".name", quoted(node.name) + " is the name of " + document_.place(first) + " too");
    for (size_t j = 0; j < node.inputs.size(); ++j) {
      const auto at = numbers_.find(node.inputs[j]);
      const bool image = node.inputs[j] == "pixels", known = at != numbers_.end();
      if (!image && (!known || at->second >= i))
        refuse(document_.place(i) + ".inputs[" + std::to_string(j) + "]",
               "the value " + quoted(node.inputs[j]) +
                   (known ? " is made later, by " + document_.place(at->second) : " is made by no node"));
      node.reads.push_back(image ? 0 : static_cast<int>(at->second) + 1);
    }
  }

  void check_inputs(const Node& node, const std::vector<Flow>& inputs, const std::string& place) {
    const Flow& given = inputs[0];
    if (document_.chain) {
      check_layer(node.layer, given, place, "the layer before it");
      return;
    }
    const size_t count = inputs.size();
    const bool fits = node.kind == Node::kAdd ? count == 2 : node.kind == Node::kConcat ? count >= 2 : count == 1;
    if (!fits) {
      const char* expected = node.kind == Node::kAdd      ? "two values"
                             : node.kind == Node::kConcat ? "two or more values"
                                                          : "one value";
      refuse(place + ".inputs", std::string("expected ") + expected + ", found " + std::to_string(count));
    }
    if (node.kind == Node::kLayer) {
      check_layer(node.layer, given, place + ".op", "its value");
      return;
    }
    for (size_t j = 0; j < count; ++j) {
      const Flow& each = inputs[j];
      const std::string here = place + ".inputs[" + std::to_string(j) + "]";
      const bool pool = node.kind == Node::kMaxPool;
      if (each.form != Form::kReals && !(pool && each.form == Form::kSigns))
        refuse(here,
               std::string("reads reals") + (pool ? " or signs" : "") + ", where its value is " + name_of(each.form));
      Shape map = each.map;
      if (node.kind == Node::kConcat) map.channels = given.map.channels;
      if (!same(map, given.map))
        refuse(here, shown(each.map) + " does not fit " + shown(given.map) + ", the first one");
    }
    if (node.kind == Node::kMaxPool || node.kind == Node::kAveragePool) check_pool(node.pool, given.map, place + ".op");
  }

  void check_layer(const LayerPart& layer, const Flow& given, const std::string& place, const char* giver) {
    const auto described = [](Form form, int bits) {
      return form == Form::kCodes ? "codes of " + std::to_string(bits) + " bits" : std::string(name_of(form));
    };
    const std::string found = described(given.form, given.bits);
    const std::string wanted = layer.k ? "reals" : described(layer.reads, layer.bits);
    if (wanted != found) refuse(place + ".operand", "reads " + wanted + ", where " + giver + " gives " + found);
    if (layer.k && layer.weights != LayerPart::kPlanes)
      refuse(place + ".operand.scale", "K requires weights of planes");
    const bool signs = layer.binary() && layer.reads == Form::kSigns && !layer.k;
    if (layer.ones && !signs) refuse(place + ".border", "ones requires signs, weights of planes and no scale");
    if (layer.fp64 && layer.weights != LayerPart::kFloat) refuse(place + ".accumulate", "fp64 requires float weights");
    const bool plain = layer.factors == std::vector<int>{1} && layer.divisor == 1 && !layer.pool;
    if (layer.window_sum && !(signs && plain && layer.gives == Form::kReals))
      refuse(place + ".window_sum", "requires signs, one plane of weights, no pool, and an ending in reals");
    check_fit(layer, given.map, place);
  }

  static void check_fit(const LayerPart& layer, const Shape& at, const std::string& place) {
    if (layer.groups > 1 && (at.channels % layer.groups || layer.outputs % layer.groups))
      refuse(place + ".groups", std::to_string(layer.groups) + " does not divide " + shown(at.channels) +
                                    " inputs and " + shown(layer.outputs) + " outputs");
    const Window look = layer.looks(at);
    const int sides[][3] = {{at.height, look.kernel_y, look.pad_y}, {at.width, look.kernel_x, look.pad_x}};
    for (const auto& [side, kernel, padding] : sides)
      if (padding >= kernel || kernel > side + 2 * padding)
        refuse(place + ".window", "kernel " + shown(kernel) + " with padding " + shown(padding) +
                                      " does not fit a side of " + shown(side));
    check_sums(layer, int64_t{look.kernel_y} * look.kernel_x * at.channels / layer.groups, place);
    const Shape sums = layer.sums(at);
    if (layer.pool) check_pool(*layer.pool, sums, place + ".pool");
    const int64_t border = (int64_t{at.height} + 2 * look.pad_y) * (int64_t{at.width} + 2 * look.pad_x) * at.channels;
    if (std::max(border, sums.values()) > kLargestMap)
      refuse(place, "a map of more than " + shown(kLargestMap) + " values for one image");
    if (layer.window_sum && layer.per_position && sums.positions() > 1)
      refuse(place + ".window_sum", "requires an ending with the same numbers at every position");
    try {
      frame(layer, at);
    } catch (const std::invalid_argument& error) {
      refuse(place, error.what());
    }
  }

  static void check_pool(const MaxPool& pool, const Shape& sums, const std::string& place) {
    if (!pool.size || !pool.stride || pool.pad > pool.size / 2)
      refuse(place, "size " + shown(pool.size) + ", stride " + shown(pool.stride) + " and padding " + shown(pool.pad) +
                        " make no pool");
    if (pool.size > std::min(sums.height, sums.width) + 2 * pool.pad)
      refuse(place, shown(pool.size) + " is larger than its map of " + shown(sums.height) + " x " + shown(sums.width));
  }

  static void check_sums(const LayerPart& layer, int64_t products, const std::string& place) {
    if (layer.weights == LayerPart::kInt8) {
      if (layer.reads != Form::kPixels && layer.reads != Form::kReals)
        refuse(place + ".weights", std::string("int8 takes pixels or reals, found ") + name_of(layer.reads));
      if (products > kMostByteProducts)
        refuse(place, "more than " + shown(kMostByteProducts) + " products of bytes in a sum");
      const bool pixels = layer.reads == Form::kPixels;
      if (layer.groups > 1 || (pixels && !layer.windowed))
        refuse(place + ".weights", "int8 takes a convolution or a linear layer of reals, without groups");
      if (!pixels && layer.windowed && (layer.window.pad_y || layer.window.pad_x))
        refuse(place + ".window.padding", "reals with int8 weights have none, found (" + shown(layer.window.pad_y) +
                                              ", " + shown(layer.window.pad_x) + ")");
    } else if (layer.binary()) {
      int64_t most = 0, sum = 0;
      for (const int factor : layer.factors) {
        most += std::abs(int64_t{factor});
        sum += factor;
      }
      if (sum % layer.divisor)
        refuse(place + ".weights.factors", "add up to " + shown(sum) + ", which divisor " + shown(layer.divisor) +
                                               " does not divide: weights on signs or codes are integers");
      most *= (int64_t{1} << layer.bits) - 1;
      if (most > 0 && products > kLargestSum / most)
        refuse(place, "sums of " + shown(products) + " products may exceed " + shown(kLargestSum));
    }
  }

  void check_tensors(const Node& node, const Shape& at, const std::string& place) {
    for (const auto& [end, expected] : node_tensors(node, at)) {
      const std::string name = node.name + "." + end;
      const auto found = tensors_.find(name);
      if (found == tensors_.end()) refuse(place, "tensor " + quoted(name) + " is missing");
      const Tensor& tensor = found->second;
      if (tensor.type != expected.type || tensor.shape != expected.shape)
        refuse("tensor " + quoted(name), Tensor::described(tensor.type, tensor.shape) + ", expected " +
                                             Tensor::described(expected.type, expected.shape));
      if (tensor.type == Tensor::kF32) check_finite(name, tensor, end == "threshold");
      used_.insert(name);
    }
  }

  // Infinity is a threshold that is always, or never, reached.
  static void check_finite(const std::string& name, const Tensor& tensor, bool threshold) {
    for (size_t at = 0; at < tensor.bytes.size(); at += 4) {
      uint32_t bits = 0;
      std::memcpy(&bits, tensor.bytes.data() + at, 4);
      const bool special = (bits & 0x7F800000u) == 0x7F800000u, nan = special && (bits & 0x7FFFFFu) != 0;
      if (threshold ? nan : special) refuse("tensor " + quoted(name), "holds a number that is not finite");
    }
  }

  // The bytes that the weights take at most.
  int64_t check_growth(const Node& node, const Shape& at, const std::string& place) {
    int64_t given = static_cast<int64_t>(tensors_.find(node.name + ".weight")->second.bytes.size());
    if (node.layer.window_sum)
      given += static_cast<int64_t>(tensors_.find(node.name + ".constant")->second.bytes.size());
    const int64_t bytes = loaded_bytes(node.layer, at);
    spare_ -= std::max<int64_t>(0, bytes - kMostGrowth * given);
    if (spare_ < 0)
      refuse(place, "weights for " + std::to_string(node.layer.groups) +
                        " groups and this window take more memory than " + shown(kMostGrowth) +
                        " times their bytes and " + shown(kSpareBytes) + " for all layers");
    return bytes;
  }

  void check_read(const std::vector<bool>& read) const {
    std::map<std::string, std::string> unread;
    if (!read[0]) unread.emplace("pixels", "nodes");
    for (size_t i = 0; i + 1 < document_.nodes.size(); ++i)
      if (!read[i + 1]) unread.emplace(document_.nodes[i].name, document_.place(i));
    if (!unread.empty()) refuse(unread.begin()->second, "no node reads the value " + quoted(unread.begin()->first));
  }

  void check_end() const {
    const Flow& last = flows_.back();
    const auto classes = static_cast<int64_t>(document_.classes.size());
    if (last.form != Form::kReals || last.map.height != 1 || last.map.width != 1 || last.map.channels != classes)
      refuse(kind(), std::string("end with ") + name_of(last.form) + " of " + shown(last.map) + ", where " +
                         shown(classes) + " classes need as many reals");
    for (const auto& [name, tensor] : tensors_)
      if (!used_.contains(name))
        refuse("tensor " + quoted(name), std::string("belongs to no ") + (document_.chain ? "layer" : "node"));
  }

  Document& document_;
  const Tensors& tensors_;
  const bool fuse_;
  std::vector<Flow> flows_;
  std::map<std::string, size_t> numbers_;  // of nodes by name
  std::set<std::string, std::less<>> used_;
  int64_t spare_ = kSpareBytes;
};

}  // namespace

Checked check(Document& document, const Tensors& tensors, bool fuse) { return Checker(document, tensors, fuse).run(); }

Frame frame(const LayerPart& layer, const Shape& at) {
  const Window look = layer.looks(at);
  return Frame({at.height, at.width, at.channels},
               {look.kernel_y, look.kernel_x, look.stride_y, look.stride_x, look.pad_y, look.pad_x}, layer.groups,
               layer.outputs);
}

}  // namespace xnorlit
