// The ends of a network on bytes: weights of 8 bits with a scale per output channel, sums in 32 bits.
#pragma once

#include <vector>

#include "ending.h"
#include "isa.h"
#include "layer.h"
#include "weights.h"

namespace xnorlit {

// Weights of bytes as an instruction set's tiles read them.
class ByteWeights {
 public:
  // `rows`: [output][window row][value]; each row of the window is filled up to whole words with zeros.
  ByteWeights(const Isa& isa, int outputs, int rows, int row_values, const int8_t* weights);

  int blocks() const { return blocks_; }
  int run() const { return run_; }  // words in a row of the window
  int64_t bytes() const { return static_cast<int64_t>(words_.size()); }
  const uint8_t* block(int index) const { return words_.data() + static_cast<size_t>(index) * block_bytes_; }

 private:
  int blocks_, run_;
  size_t block_bytes_;
  Weights<uint8_t> words_;
};

struct ByteConvSettings {
  Shape input;
  float step = 0;  // of reals in levels, which have no border; 0 for pixels
  Window window;
  int outputs = 0;
  const int8_t* weights = nullptr;  // [output][kernel row][kernel column][channel]
  std::vector<uint8_t> fill;        // the pixel that stands for zero padding, per channel
  EndingSettings ending;
};

// Convolution of pixels as they are, or of reals of at least 0 in levels, round(x / step) in 0..255. Mean, standard
// deviation, step and the weights' scales are in the ending.
class ByteConv final : public Layer {
 public:
  ByteConv(const Isa& isa, const ByteConvSettings& settings);

  Value input() const override { return {step_ > 0 ? Value::kReals : Value::kPixels, input_}; }
  Value output() const override { return ending_.output(); }
  int64_t scratch_bytes(int images) const override;
  int64_t resident_bytes() const override { return weights_.bytes() + ending_.bytes(); }
  void run(const Call& call) const override;

 private:
  int64_t row_values() const { return int64_t{input_.width + 2 * window_.pad_x} * input_.channels; }
  int64_t image_bytes() const { return (input_.height + 2 * window_.pad_y) * row_values() * isa_.byte_width + 64; }
  void pad(const Call& call, int image, int row, uint8_t* to) const;
  void run_row(const uint8_t* image, int32_t* sums, uint32_t* bits, const BitMap& map, int y) const;

  const Isa& isa_;
  Shape input_;
  float step_;
  Window window_;
  Shape sums_;  // before the pool
  ByteWeights weights_;
  std::vector<uint8_t> fill_;
  Ending ending_;
};

// Sums over reals of at least 0 in levels, round(x / step) in 0..255; step and the weights' scales are in the ending.
class ByteLinear final : public Layer {
 public:
  ByteLinear(const Isa& isa, const Shape& input, int outputs, float step, const int8_t* weights,
             const EndingSettings& ending);

  Value input() const override { return {Value::kReals, input_}; }
  Value output() const override { return ending_.output(); }
  int64_t scratch_bytes(int images) const override {
    return aligned(images * row_bytes()) + aligned(int64_t{images} * outputs_ * 4);
  }
  int64_t resident_bytes() const override { return weights_.bytes() + ending_.bytes(); }
  void run(const Call& call) const override;

 private:
  int64_t row_bytes() const { return int64_t{weights_.run()} * 4; }

  const Isa& isa_;
  Shape input_;
  int outputs_;
  float step_;
  ByteWeights weights_;
  Ending ending_;
};

}  // namespace xnorlit
