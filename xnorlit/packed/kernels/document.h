// A packed network as its file describes it, without its tensors: docs/packed-format.md says what the parts mean.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "map.h"

namespace xnorlit {

enum class Form : uint8_t { kPixels, kSigns, kCodes, kReals };

// What a value holds.
struct Flow {
  Form form;
  int bits;
  Shape map;
};

using Slope = std::optional<double>;  // none for a tensor of one per channel

struct LayerPart {
  enum Weights { kFloat, kInt8, kPlanes };

  int outputs = 0, groups = 1;
  bool windowed = false;  // or it sees the whole map
  Window window;
  std::optional<MaxPool> pool;
  Form reads = Form::kPixels;
  int bits = 1;
  bool k = false;
  double step = 0;
  Weights weights = kFloat;
  std::vector<int> factors;
  int divisor = 1;
  Form gives = Form::kReals;
  int given_bits = 1, levels = 1;
  std::vector<Slope> slopes;
  bool per_position = false;
  bool ones = false, fp64 = false, window_sum = false;

  // It counts bits: integer sums of few-bit operands.
  bool binary() const { return weights == kPlanes && (reads == Form::kSigns || reads == Form::kCodes); }
  // Its thresholds are integers.
  bool integer() const { return (binary() && !k) || weights == kInt8; }
  Window looks(const Shape& at) const;
  Shape sums(const Shape& at) const { return looks(at).over(at, outputs); }
  Shape output(const Shape& at) const { return pool ? pool->over(sums(at)) : sums(at); }
  // For each row and for each column of its sums, the number of the way its window lies there.
  std::pair<std::vector<int>, std::vector<int>> overlaps(const Shape& at) const;
};

struct Node {
  enum Kind {
    kLayer,
    kAffine,
    kShift,
    kAdd,
    kTwoSlope,
    kClip,
    kSign,
    kMaxPool,
    kAveragePool,
    kGlobalAverage,
    kSubsample,
    kConcat,
    kFlatten,
  };

  std::string name;
  std::vector<std::string> inputs;
  std::vector<int> reads;  // their numbers: 0 for the image, i + 1 for the value of node i
  Kind kind = kLayer;
  LayerPart layer;
  Slope above, below;
  double low = 0, high = 0;
  MaxPool pool;
  int stride = 1, before = 0, after = 0;

  bool elementwise() const {
    return kind == kAffine || kind == kShift || kind == kAdd || kind == kTwoSlope || kind == kClip;
  }
};

struct Document {
  bool chain = true;  // version 2, whose layers each read the one before; else version 3
  std::string network;
  int image_size = 0;
  std::vector<float> mean, std;
  double crop = 1;
  bool squash = false;
  std::vector<std::string> classes;
  std::vector<Node> nodes;

  Shape input() const { return {image_size, image_size, 3}; }
  // Where node i is described.
  std::string place(size_t i) const { return (chain ? "layers[" : "nodes[") + std::to_string(i) + "]"; }

  // Fields by type and range; check.h says whether they fit each other. Throws FileError.
  static Document parse(std::string_view text);
};

// The value of a node that fits what it reads.
Flow flow(const Node& node, const std::vector<Flow>& inputs);

}  // namespace xnorlit
