#include "assembly.h"

#include <map>
#include <set>

#include "settings.h"

namespace xnorlit {
namespace {

// Bits, one of the lowest first, as one 0 or 1 each: rows of whole bytes, `count` bits of each.
std::vector<uint8_t> unpacked(std::span<const uint8_t> octets, int64_t count) {
  const int64_t width = (count + 7) / 8, rows = static_cast<int64_t>(octets.size()) / width;
  std::vector<uint8_t> bits(static_cast<size_t>(rows * count));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < count; ++i) bits[row * count + i] = octets[row * width + i / 8] >> (i % 8) & 1;
  return bits;
}

class Assembly {
 public:
  Assembly(AnyEngine& engine, const Document& document, const Tensors& tensors, const Checked& checked)
      : engine_(engine), document_(document), tensors_(tensors), flows_(checked.flows), plan_(checked.plan) {}

 protected:
  const Tensor& tensor(const Node& node, const std::string& name) const {
    return tensors_.find(node.name + "." + name)->second;
  }
  std::vector<float> floats(const Node& node, const std::string& name) const {
    return tensor(node, name).values<float>();
  }
  // A number for all channels, or the tensor of one for each.
  std::vector<float> slopes(const Node& node, const Slope& slope, const std::string& name) const {
    return slope ? std::vector<float>{static_cast<float>(*slope)} : floats(node, name);
  }

  // What leaves a layer; the affine nodes of these numbers go on with its maps.
  EndingSettings ending(const Node& node, const Shape& at, const std::vector<int>& affine = {}) const {
    const LayerPart& layer = node.layer;
    const MaxPool pool = layer.pool.value_or(MaxPool{});
    if (layer.gives == Form::kReals) {
      std::vector<Affine> maps;
      for (size_t i = 0; i < layer.slopes.size(); ++i) {
        const std::string number = std::to_string(i);
        maps.push_back({floats(node, "scale" + number), floats(node, "shift" + number),
                        slopes(node, layer.slopes[i], "slope" + number)});
      }
      for (const int number : affine) {
        const Node& next = document_.nodes[number];
        maps.push_back({floats(next, "scale"), floats(next, "shift"), {1.0f}});
      }
      return reals_ending(pool, layer.per_position, std::move(maps));
    }
    const int64_t features = layer.per_position ? layer.output(at).values() : layer.outputs;
    std::vector<uint8_t> changes;
    if (layer.levels > 1 || layer.given_bits > 1) changes = unpacked(tensor(node, "change").bytes, features);
    std::vector<int32_t> thresholds;
    std::vector<float> reals;
    if (layer.integer()) {
      thresholds = tensor(node, "threshold").values<int32_t>();
    } else {
      reals = floats(node, "threshold");
    }
    return bits_ending(pool, layer.per_position, layer.given_bits, layer.levels, std::move(thresholds),
                       std::move(reals), unpacked(tensor(node, "flip").bytes, features), std::move(changes));
  }

  void add_layer(const Node& node, const Shape& at, const EndingSettings& ending) {
    const LayerPart& layer = node.layer;
    const Frame frame = xnorlit::frame(layer, at);
    const Isa& isa = engine_.isa();
    const Tensor& weight = tensor(node, "weight");
    if (layer.weights == LayerPart::kInt8) {
      const Aligned<int8_t> held(weight);
      const auto weights = held.values();
      engine_.add(layer.reads == Form::kPixels
                      ? byte_conv(isa, frame, weights, tensor(node, "fill").bytes, ending)
                      : byte_linear(isa, frame, static_cast<float>(layer.step), weights, ending));
      return;
    }
    constexpr Operand::Form kForms[] = {Operand::kPixels, Operand::kSigns, Operand::kCodes, Operand::kReals};
    const Operand operand = {
        kForms[static_cast<int>(layer.reads)], layer.bits, layer.k, layer.ones, document_.mean, document_.std};
    if (layer.weights == LayerPart::kPlanes) {
      const BitPlanes planes = {weight.bytes, layer.factors, layer.divisor};
      engine_.add(layer.binary() ? binary_layer(isa, frame, operand, planes, ending)
                                 : real_layer(isa, frame, operand, planes, ending));
      return;
    }
    const Aligned<float> held(weight);
    engine_.add(layer.fp64 ? double_layer(isa, frame, operand, held.values(), ending)
                           : real_layer(isa, frame, operand, held.values(), ending));
  }

  AnyEngine& engine_;
  const Document& document_;
  const Tensors& tensors_;
  const std::vector<Flow>& flows_;
  const Plan& plan_;
};

class ChainAssembly final : public Assembly {
 public:
  using Assembly::Assembly;

  Names run() {
    Names names;
    for (size_t i = 0; i < document_.nodes.size(); ++i) {
      const Node& node = document_.nodes[i];
      add_layer(node, flows_[i].map, ending(node, flows_[i].map));
      names.push_back(node.name);
    }
    return names;
  }
};

class GraphAssembly final : public Assembly {
 public:
  GraphAssembly(GraphEngine& engine, const Document& document, const Tensors& tensors, const Checked& checked)
      : Assembly(engine, document, tensors, checked), graph_(engine) {}

  Names run(int& logits) {
    Names names;
    for (const Node& node : document_.nodes) taken_.insert(node.name);
    numbers_[{}] = graph_.add_value({Value::kPixels, document_.input()}, 0, 0, false, -1);
    for (const auto& [place, slot] : plan_.slots) {
      const Flow& flow = flows_[place.value];
      const Value::Kind kind = flow.form == Form::kReals ? Value::kReals : Value::kBits;
      numbers_[place] = graph_.add_value({kind, flow.map, flow.bits}, place.pad_y, place.pad_x, place.ones, slot);
    }
    for (const Stage& stage : plan_.stages) {
      add_stage(stage);
      const std::string& name = document_.nodes[stage.head < 0 ? stage.tail[0] : stage.head].name;
      // To flatten is to look at the same memory.
      if (graph_.steps() > static_cast<int>(names.size())) names.push_back(name);
      for (const auto& [from, to] : stage.copies) {
        graph_.add_copy(numbers_.at(from), numbers_.at(to));
        names.push_back(own(document_.nodes[from.value - 1].name + " border"));
      }
    }
    logits = numbers_.at({static_cast<int>(document_.nodes.size())});
    return names;
  }

 private:
  // The name of a copy, which no node and no other copy has.
  std::string own(const std::string& name) {
    std::string found = name;
    for (int number = 2; !taken_.insert(found).second; ++number) found = name + " " + std::to_string(number);
    return found;
  }

  // Where a stage writes a value, or -1.
  int stored(const Stage& stage, int value) const {
    for (const Place& place : stage.stored)
      if (place.value == value) {
        const auto found = numbers_.find(place);
        return found == numbers_.end() ? -1 : found->second;
      }
    return -1;
  }
  static bool stores(const Stage& stage, int value) {
    for (const Place& place : stage.stored)
      if (place.value == value) return true;
    return false;
  }

  void add_stage(const Stage& stage) {
    std::vector<int> reads;
    for (const Place& place : stage.reads) reads.push_back(numbers_.at(place));
    if (stage.head < 0) {
      graph_.add_tail(reads[0], tail(stage, stage.reads[0].value));
      return;
    }
    const Node& head = document_.nodes[stage.head];
    const int value = stage.head + 1;
    const Shape& at = flows_[stage.reads[0].value].map;
    const int writes = stored(stage, value);
    const MaxPool& pool = head.pool;
    switch (head.kind) {
      case Node::kLayer:
        if (head.layer.window_sum || (!stage.tail.empty() && hosts(head.layer))) {
          graph_.wire(reads[0], tail(stage, value));
          add_layer(head, at, sums_ending({}));
        } else {
          graph_.wire(reads[0], stage.tail.empty() ? writes : stored(stage, stage.tail.back() + 1));
          add_layer(head, at, ending(head, at, stage.tail));
        }
        break;
      case Node::kFlatten: numbers_[{value}] = graph_.add_flat(reads[0]); break;
      case Node::kMaxPool: graph_.add_max_pool(reads[0], writes, pool); break;
      case Node::kAveragePool: graph_.add_average_pool(reads[0], writes, pool); break;
      case Node::kGlobalAverage: graph_.add_global_average(reads[0], writes); break;
      case Node::kSubsample: graph_.add_subsample(reads[0], writes, head.stride, head.before); break;
      default: graph_.add_concat(reads, writes);
    }
  }

  // The maps of a layer's own ending.
  void begin(Tail& tail, const Node& node, const Shape& at) const {
    const LayerPart& layer = node.layer;
    if (layer.window_sum) {
      const auto [rows, columns] = layer.overlaps(at);
      tail.window(floats(node, "sum_scale"), floats(node, "window_scale"), floats(node, "constant"), rows, columns);
    }
    for (size_t i = 0; i < layer.slopes.size(); ++i) {
      const std::string number = std::to_string(i);
      tail.affine(floats(node, "scale" + number), floats(node, "shift" + number));
      if (layer.slopes[i] != 1.0) tail.slopes({1.0f}, slopes(node, layer.slopes[i], "slope" + number));
    }
  }

  // What runs behind a stage's head, or over the value that it reads.
  std::unique_ptr<Tail> tail(const Stage& stage, int begins) const {
    const Shape& at = flows_[begins].map;
    auto made = std::make_unique<Tail>(at);
    if (stage.head >= 0) begin(*made, document_.nodes[stage.head], flows_[stage.reads[0].value].map);
    // Stores a value that was just made and compares it, where that is wanted.
    const auto keep = [&](int value) {
      if (stores(stage, value) && !(stage.head < 0 && value == begins)) made->store(stored(stage, value));
      for (const int sign : stage.tail) {
        const Node& node = document_.nodes[sign];
        if (node.kind != Node::kSign || node.reads[0] != value) continue;
        made->sign(floats(node, "threshold"), unpacked(tensor(node, "flip").bytes, at.channels),
                   stored(stage, sign + 1));
      }
    };
    keep(begins);
    for (const int number : stage.tail) {
      const Node& node = document_.nodes[number];
      switch (node.kind) {
        case Node::kSign: continue;
        case Node::kAffine: made->affine(floats(node, "scale"), floats(node, "shift")); break;
        case Node::kShift: made->shift(floats(node, "shift")); break;
        case Node::kTwoSlope: made->slopes(slopes(node, node.above, "above"), slopes(node, node.below, "below")); break;
        case Node::kClip: made->clip(static_cast<float>(node.low), static_cast<float>(node.high)); break;
        default: {
          const int running = stage.running.at(number);
          made->add(numbers_.at({node.reads[0] == running ? node.reads[1] : node.reads[0]}));
        }
      }
      keep(number + 1);
    }
    return made;
  }

  GraphEngine& graph_;
  std::map<Place, int> numbers_;
  std::set<std::string> taken_;  // names of nodes and copies
};

}  // namespace

Names assemble_chain(Engine& engine, const Document& document, const Tensors& tensors, const Checked& checked) {
  return ChainAssembly(engine, document, tensors, checked).run();
}

Names assemble_graph(GraphEngine& engine, const Document& document, const Tensors& tensors, const Checked& checked,
                     int& logits) {
  return GraphAssembly(engine, document, tensors, checked).run(logits);
}

}  // namespace xnorlit
