#include "document.h"

#include <cmath>
#include <map>

#include "fields.h"
#include "bounds.h"

namespace xnorlit {
namespace {

constexpr int kVersion = 2, kGraphVersion = 3;
constexpr int64_t kMostExact = int64_t{1} << 53;

MaxPool pool_of(Fields& fields) {
  const int kernel = fields.integer("kernel", 1, kLargestSide), stride = fields.integer("stride", 1, kLargestSide);
  return {kernel, stride, fields.integer("padding", 0, kLargestSide)};
}

Slope slope(Fields& fields, const std::string& name) {
  if (fields.has(name)) return fields.number(name, -kSteepest, kSteepest);
  fields.take(name);
  return std::nullopt;
}

void take_weights(Fields fields, LayerPart& layer) {
  layer.weights = static_cast<LayerPart::Weights>(fields.choice("form", {"float", "int8", "planes"}));
  if (layer.weights == LayerPart::kPlanes) {
    layer.factors = fields.integers("factors", 1, kMostPlanes, -kLargestFactor, kLargestFactor);
    layer.divisor = fields.integer("divisor", 1, 2);
  }
  fields.done();
}

void take_operand(Fields fields, LayerPart& layer) {
  layer.reads = static_cast<Form>(fields.choice("form", {"pixels", "signs", "codes", "reals"}));
  if (layer.reads == Form::kCodes) layer.bits = fields.integer("bits", 1, 8);
  if (layer.reads == Form::kSigns) layer.k = fields.choice("scale", {"none", "K"}) == 1;
  if (layer.reads == Form::kReals && layer.weights == LayerPart::kInt8) layer.step = fields.number("step", 1e-30, 1e30);
  fields.done();
}

void take_ending(Fields fields, bool within_graph, LayerPart& layer) {
  constexpr Form kForms[] = {Form::kSigns, Form::kCodes, Form::kReals};
  layer.gives = kForms[fields.choice("form", {"signs", "codes", "reals"})];
  layer.per_position = fields.flag("per_position");
  if (layer.gives == Form::kReals) {
    layer.slopes = fields.optional_numbers("slopes", within_graph ? 0 : 1, kMostMaps, -kSteepest, kSteepest);
  } else {
    layer.levels = fields.integer("levels", 1, kMostLevels);
  }
  if (layer.gives == Form::kCodes) layer.given_bits = fields.integer("bits", 1, 8);
  fields.done();
}

Window window_of(Fields fields) {
  const auto kernel = fields.integers("kernel", 2, 2, 1, kLargestSide);
  const auto stride = fields.integers("stride", 2, 2, 1, kLargestSide);
  const auto padding = fields.integers("padding", 2, 2, 0, kLargestSide);
  fields.done();
  return {kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1]};
}

LayerPart layer_of(Fields& fields, bool within_graph) {
  LayerPart layer;
  const Json &pool = fields.take("pool"), &window = fields.take("window");
  take_weights(fields.object("weights"), layer);
  if (within_graph) {
    layer.ones = fields.choice("border", {"absent", "ones"}) == 1;
    layer.fp64 = fields.choice("accumulate", {"fp32", "fp64"}) == 1;
    layer.window_sum = fields.flag("window_sum");
  }
  layer.outputs = fields.integer("outputs", 1, kMostClasses);
  take_operand(fields.object("operand"), layer);
  take_ending(fields.object("ending"), within_graph, layer);
  layer.windowed = window.kind != Json::kNull;
  if (layer.windowed) layer.window = window_of(Fields(window, fields.at("window")));
  layer.groups = fields.integer("groups", 1, kMostClasses);
  if (pool.kind != Json::kNull) {
    const auto sides = fields.integers("pool", 3, 3, 0, kLargestSide);
    layer.pool = MaxPool{sides[0], sides[1], sides[2]};
  }
  fields.done();
  return layer;
}

Node node_of(Fields fields) {
  Node node;
  node.name = fields.text("name");
  node.inputs = fields.texts("inputs", kMostInputs);
  Fields op = fields.object("op");
  node.kind = static_cast<Node::Kind>(
      op.choice("kind", {"layer", "affine", "shift", "add", "two-slope", "clip", "sign", "max-pool", "average-pool",
                         "global-average", "subsample", "concat", "flatten"}));
  switch (node.kind) {
    case Node::kLayer: node.layer = layer_of(op, true); break;
    case Node::kTwoSlope:
      node.above = slope(op, "above");
      node.below = slope(op, "below");
      break;
    case Node::kClip:
      node.low = op.number("low", -kFarthest, kFarthest);
      node.high = op.number("high", -kFarthest, kFarthest);
      if (node.low > node.high)
        throw FileError(op.at("low") + ": " + plain(node.low) + " is above high, " + plain(node.high));
      break;
    case Node::kMaxPool:
    case Node::kAveragePool: node.pool = pool_of(op); break;
    case Node::kSubsample:
      node.stride = op.integer("stride", 1, kLargestSide);
      node.before = op.integer("before", 0, kMostClasses);
      node.after = op.integer("after", 0, kMostClasses);
      break;
    default: break;
  }
  op.done();
  fields.done();
  return node;
}

void check_source(Fields fields) {
  const bool random = fields.choice("weights", {"trained", "random"}) == 1;
  const std::string run = fields.text("run"), checkpoint = fields.text("checkpoint");
  const int64_t epoch = fields.long_integer("epoch", 0, kMostExact);
  const std::string commit = fields.text("commit");
  fields.flag("changed");
  fields.text("xnorlit");
  fields.done();
  const bool digits = commit.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!commit.empty() && !((commit.size() == 40 || commit.size() == 64) && digits))
    throw FileError("source.commit: expected 40 or 64 hexadecimal digits, or none");
  if (random && !(run.empty() && checkpoint.empty() && epoch == 0 && commit.empty()))
    throw FileError("source.weights: random weights cannot come from a run");
}

void check_accuracy(const Json& found) {
  if (found.kind == Json::kNull) return;
  Fields fields(found, "accuracy");
  const double shares[] = {fields.number("top1", 0, 1), fields.number("top5", 0, 1)};
  const int64_t images = fields.long_integer("images", 1, kMostExact);
  for (const char* name : {"data", "split", "listing_sha256"}) fields.text(name);
  fields.done();
  for (int i = 0; i < 2; ++i) {
    const double right = shares[i] * static_cast<double>(images), whole = std::nearbyint(right);
    if (std::abs(right - whole) > std::max(1e-9 * std::max(std::abs(right), std::abs(whole)), 1e-6))
      throw FileError(std::string("accuracy.top") + (i ? "5" : "1") + ": no whole number of " + std::to_string(images) +
                      " images is right");
  }
  if (shares[1] < shares[0])
    throw FileError("accuracy.top5: " + plain(shares[1]) + " is below top1, " + plain(shares[0]));
}

}  // namespace

Window LayerPart::looks(const Shape& at) const { return windowed ? window : Window{at.height, at.width}; }

std::pair<std::vector<int>, std::vector<int>> LayerPart::overlaps(const Shape& at) const {
  const Window look = looks(at);
  const Shape made = sums(at);
  const auto ways = [&](int side, int kernel, int stride, int pad, int outs) {
    const int inside = ones ? side + 2 * pad : side, before = ones ? 0 : pad;
    std::map<std::pair<int, int>, int> known;
    std::vector<int> found;
    for (int out = 0; out < outs; ++out) {
      const int start = out * stride - before;
      const std::pair<int, int> way = {std::max(-start, 0), std::min(inside - start, kernel)};
      found.push_back(known.emplace(way, static_cast<int>(known.size())).first->second);
    }
    return found;
  };
  return {ways(at.height, look.kernel_y, look.stride_y, look.pad_y, made.height),
          ways(at.width, look.kernel_x, look.stride_x, look.pad_x, made.width)};
}

Document Document::parse(std::string_view text) {
  const Json found = [&] {
    try {
      return Json::parse(text);
    } catch (const std::invalid_argument& error) {
      throw FileError(std::string("metadata xnorlit.packed: not JSON (") + error.what() + ")");
    }
  }();
  Fields fields(found, "");
  const Json& version = fields.take("version");
  const bool whole = version.kind == Json::kInteger && !version.huge;
  if (!whole || (version.integer() != kVersion && version.integer() != kGraphVersion))
    throw FileError("version: this xnorlit reads versions 2 and 3, found " + shown(version));
  Document document;
  document.chain = version.integer() == kVersion;
  Fields image = fields.object("image");
  document.image_size = image.integer("size", 1, kLargestSide);
  const std::string kind = document.chain ? "layers" : "nodes";
  const Json& parts = fields.take(kind);
  const size_t most = document.chain ? kMostLayers : kMostNodes;
  if (parts.kind != Json::kList || parts.list().empty() || parts.list().size() > most)
    throw FileError(kind + ": expected a list of 1 to " + std::to_string(most));
  std::vector<Fields> inside;
  for (const Json& part : parts.list()) inside.emplace_back(part, document.place(inside.size()));
  document.network = fields.text("network");
  for (const double each : image.numbers("mean", 3, -1e6, 1e6)) document.mean.push_back(static_cast<float>(each));
  for (const double each : image.numbers("std", 3, 1e-6, 1e6)) document.std.push_back(static_cast<float>(each));
  document.crop = image.number("crop", 1e-6, 1);
  document.squash = image.flag("squash");
  document.classes = fields.texts("classes", kMostClasses);
  if (document.chain) {
    for (Fields& each : inside) {
      Node node;
      node.name = each.text("name");
      node.inputs = {document.nodes.empty() ? "pixels" : document.nodes.back().name};
      node.layer = layer_of(each, false);
      document.nodes.push_back(std::move(node));
    }
  }
  check_source(fields.object("source"));
  check_accuracy(fields.take("accuracy"));
  if (!document.chain)
    for (Fields& each : inside) document.nodes.push_back(node_of(std::move(each)));
  image.done();
  fields.done();
  return document;
}

Flow flow(const Node& node, const std::vector<Flow>& inputs) {
  const Flow& first = inputs[0];
  const Shape& at = first.map;
  const LayerPart& layer = node.layer;
  switch (node.kind) {
    case Node::kLayer: return {layer.gives, layer.given_bits, layer.output(at)};
    case Node::kMaxPool:
    case Node::kAveragePool: return {first.form, first.bits, node.pool.over(at)};
    case Node::kSign: return {Form::kSigns, 1, at};
    case Node::kGlobalAverage: return {first.form, first.bits, {1, 1, at.channels}};
    case Node::kSubsample:
      return {first.form,
              first.bits,
              {(at.height - 1) / node.stride + 1, (at.width - 1) / node.stride + 1,
               node.before + at.channels + node.after}};
    case Node::kConcat: {
      int channels = 0;
      for (const Flow& each : inputs) channels += each.map.channels;
      return {first.form, first.bits, {at.height, at.width, channels}};
    }
    case Node::kFlatten: return {first.form, first.bits, {1, 1, static_cast<int>(at.values())}};
    default: return first;
  }
}

}  // namespace xnorlit
