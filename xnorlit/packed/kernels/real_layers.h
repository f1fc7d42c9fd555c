// The layers at the ends of a network, on real numbers, and the sign that opens a binary layer standing by itself.
#pragma once

#include <vector>

#include "layer.h"
#include "path.h"

namespace xnorlit {

struct FloatConvSettings {
  Shape input;  // of the pixels
  Window window;
  int outputs = 0;
  const float* weights = nullptr;  // [output][kernel row][kernel column][channel]
  std::vector<float> mean, std;    // per channel of the pixels
  MaxPool pool;
  std::vector<float> thresholds;  // per output: bit = (pool of the convolution >= threshold) xor flip
  std::vector<uint8_t> flips;
};

// Pixels to signs: (pixel - mean) / std, convolution, max pool, threshold. Everything between the convolution and the
// next layer's sign grows or falls with the convolution's result, so it is one threshold and a direction per channel.
class FloatConv final : public Layer {
 public:
  FloatConv(const Path& path, const FloatConvSettings& settings);

  Value input() const override { return {Value::kPixels, input_}; }
  Value output() const override { return {Value::kBits, pool_.over(window_.over(input_, outputs_))}; }
  int64_t scratch_bytes(int images) const override;
  int64_t resident_bytes() const override { return 4 * static_cast<int64_t>(weights_.size() + 2 * thresholds_.size()); }
  void run(const Call& call) const override;

 private:
  int64_t row_floats() const { return int64_t{input_.width + 2 * window_.pad_x} * input_.channels; }
  int rows() const { return input_.height + 2 * window_.pad_y; }
  int tile_channels() const { return path_.float_blocks * path_.float_lanes; }
  void normalize(const uint8_t* pixels, float* image, int row) const;
  void run_row(const float* image, uint32_t* bits, const BitMap& map, int y) const;

  const Path& path_;
  Shape input_;
  Window window_;
  int outputs_;
  int blocks_;
  MaxPool pool_;
  std::vector<float> weights_;  // [block][float of the window][lane]
  std::vector<float> levels_;   // [channel][pixel value], normalised
  std::vector<float> thresholds_;
  std::vector<uint32_t> flips_;
};

// Reals to reals: W x + b.
class FloatLinear final : public Layer {
 public:
  FloatLinear(const Path& path, const Shape& input, int outputs, std::vector<float> weights, std::vector<float> bias);

  Value input() const override { return {Value::kReals, input_}; }
  Value output() const override { return {Value::kReals, {1, 1, outputs_}}; }
  int64_t scratch_bytes(int) const override { return 0; }
  int64_t resident_bytes() const override { return 4 * static_cast<int64_t>(weights_.size() + bias_.size()); }
  void run(const Call& call) const override;

 private:
  const Path& path_;
  Shape input_;
  int outputs_;
  std::vector<float> weights_;  // [output][input]
  std::vector<float> bias_;
};

// Reals to signs, sign(0) = +1.
class SignLayer final : public Layer {
 public:
  SignLayer(const Path& path, const Shape& input) : path_(path), input_(input) {}

  Value input() const override { return {Value::kReals, input_}; }
  Value output() const override { return {Value::kBits, input_}; }
  int64_t scratch_bytes(int) const override { return 0; }
  int64_t resident_bytes() const override { return 0; }
  void run(const Call& call) const override;

 private:
  const Path& path_;
  Shape input_;
};

}  // namespace xnorlit
