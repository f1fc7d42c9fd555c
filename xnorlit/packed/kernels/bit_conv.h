// A convolution of few-bit operands through planes of bits: exact integers, zero padding included.
#pragma once

#include <vector>

#include "isa.h"
#include "map.h"
#include "weights.h"

namespace xnorlit {

// Who takes the sums: dots[c] of output channel `channel` + c at one position, `count` of them, each the sum over the
// window of input * weight, padded taps being 0. `dots` has room for kTileChannels; those from `count` on are
// meaningless. Called from several threads, for different positions or different blocks of 64 channels.
class Sink {
 public:
  virtual void take(int image, int y, int x, int channel, const int32_t* dots, int count) const = 0;
  // In place of `take` where `together`: positions that follow each other in a row, and what their sums follow from,
  // `counts` of each kTileChannels behind the one before.
  struct Counted {
    const int32_t* counts;
    const SumStart* starts;
    int shift;
  };
  virtual void take_row(int, int, int, int, int, const Counted&, int) const {}
  const bool together = false;

 protected:
  Sink() = default;
  explicit Sink(bool together) : together(together) {}
  ~Sink() = default;
};

// The operands' planes. A weight is the sum of factors[i] * (-1 or +1 of its plane i), over the divisor; an input is -1
// or +1, or the sum of 2^j * (0 or 1 of its plane j).
//
// A sum over planes i, j is one over signs and bits, with m the mismatches of the planes' bits, padded taps counting as
// 0 bits, and k the products inside the map:
//   sign x sign:    k - 2 * (m - ones of the weights where the input is padded)
//   {0, 1} x sign:  (ones of the weights) - m,  for ones(u xor w) = ones(u) + ones(w) - 2 ones(u and w)
// The first depends on the position, the second nowhere.
struct Planes {
  int inputs = 1;
  bool signed_inputs = true;  // one plane, of signs
  std::vector<int> factors = {1};
  int divisor = 1;  // 1 or 2
};

class BitConv {
 public:
  // `rows` are the weights' planes: [plane][output][kernel row][kernel column][word], bits beyond the channels 0.
  BitConv(const Isa& isa, const Shape& input, const Window& window, const Planes& planes, int outputs,
          const uint32_t* rows);

  const BitMap& input() const { return input_; }
  const Shape& output() const { return output_; }
  // Room that `run` needs for the instruction set's form of its input.
  int64_t operand_bytes(int images) const { return images * input_.image_words() * isa_.operand_bytes_per_word; }
  int64_t weight_bytes() const {
    return static_cast<int64_t>(weights_.size()) + 4 * static_cast<int64_t>(padded_.size() + most_.size());
  }

  void run(const uint32_t* bits, int images, uint8_t* operand, int threads, const Sink& sink) const;

  // Whether signs meet signs, so that a threshold of the sum is one of the mismatches.
  bool comparable() const { return products_.size() == 1 && products_[0].factor == 1 && shift_ == 0; }
  // Gives each output channel a threshold: from here on the convolution gives bits, by `run_bits`, and no sums.
  void compare(const std::vector<int32_t>& thresholds);
  bool compares() const { return !most_.empty(); }
  // Bit c of a position in `out`: its sum is at least the threshold of channel c, xor bit c of `flips`, unless null.
  void run_bits(const uint32_t* bits, int images, uint8_t* operand, int threads, uint32_t* out, const BitMap& map,
                const uint32_t* flips) const;

 private:
  // Positions as the tiles see them: units in rows.
  struct Layout {
    int images, rows, columns;  // of output positions
    int pair;                   // positions of a unit
    int row_units() const { return (columns + pair - 1) / pair; }
    int64_t units() const { return int64_t{images} * rows * row_units(); }
  };
  struct Pattern {
    int32_t base;    // what the sum is without mismatches
    int64_t padded;  // offset in padded_, or -1 where nothing has to be put right
  };
  // What the positions of a row have in common.
  struct Row {
    int image, y;
    const uint8_t* input;     // the operand under its first position
    const Pattern* patterns;  // by the class of the column
  };

  void note_padding(const uint32_t* rows, int outputs);
  std::vector<int32_t> ones_of(const uint32_t* rows, int outputs, int output) const;
  Layout layout(int images) const;
  void prepare(const uint32_t* bits, int images, bool paired, uint8_t* operand, int threads) const;
  // Calls `work(operand, layout, group, first unit, last unit)` for all units of all groups of channels.
  template <typename Work>
  void split(const uint32_t* bits, int images, uint8_t* operand, int threads, const Work& work) const;
  BitTile tile_of(const Layout& layout, int group) const;
  Row row_at(const uint8_t* operand, const Layout& layout, int64_t number) const;
  int channels_of(int group) const;
  int bytes_per_word() const { return isa_.operand_bytes_per_word ? isa_.operand_bytes_per_word : 4; }
  // Bytes of the operand from one position of a row to the next.
  int64_t step_bytes() const {
    return bytes_per_word() * (flat_ ? input_.image_words() : int64_t{window_.stride_x} * input_.words());
  }
  void bit_units(const uint8_t* operand, const Layout& layout, int group, int64_t first, int64_t last, uint32_t* out,
                 const BitMap& map, const uint32_t* flips) const;
  void sum_units(const uint8_t* operand, const Layout& layout, int group, int64_t first, int64_t last,
                 const Sink& sink) const;

  const Isa& isa_;
  BitMap input_;
  Window window_;
  Shape output_;
  // The window covers the whole map, as in a linear layer: one position per image, so images stand side by side as the
  // positions of one row.
  bool flat_;
  int blocks_;
  Weights<uint8_t> weights_;  // [plane][block]
  std::vector<int> factors_;
  struct Product {
    int input, weight;  // planes
    int32_t factor;
  };
  std::vector<Product> products_;
  int shift_;  // the sums arise multiplied by 2^shift

  // Which kernel rows (columns) lie outside the map depends on the output row (column): positions with equal ones share
  // a pattern, and per pattern and output channel we know by how much mismatches have to be put right.
  std::vector<int> row_class_, column_class_;
  int column_classes_ = 1;
  std::vector<Pattern> patterns_;
  std::vector<int32_t> padded_;  // and room for a tile behind the last
  // The most mismatches with which a sum reaches its threshold: [pattern][channel], and room for a tile behind the
  // last.
  Weights<int32_t> most_;
};

}  // namespace xnorlit
