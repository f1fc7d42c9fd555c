// What leaves a layer: what becomes of its sums up to the next layer's input.
#pragma once

#include <utility>
#include <vector>

#include "isa.h"
#include "layer.h"

namespace xnorlit {

// n <- max(y, 0) + slope * min(y, 0), y = n * scale + shift, of one feature each; the slope may be one for all.
struct Affine {
  std::vector<float> scale, shift, slopes;
};

// A feature is an output channel or, `per_position`, a channel at one position of the pooled map.
struct EndingSettings {
  enum Form {
    kBits,   // bit p: flip[p], turned around by each threshold that the sum reaches and whose change[level][p] is set
    kReals,  // affine maps, one after the other
    kSums,   // the sums
  };
  Form form = kSums;
  MaxPool pool;
  bool per_position = false;
  int planes = 1, levels = 1;
  std::vector<int32_t> thresholds;     // [level][feature], for integer sums
  std::vector<float> real_thresholds;  // the same for real ones
  std::vector<uint8_t> flips;          // [plane][feature], 0 or 1
  std::vector<uint8_t> changes;        // [level][plane][feature], 0 or 1; empty for one level and plane: all set
  std::vector<Affine> maps;
};

class Ending {
 public:
  static constexpr int kChunk = kTileChannels;  // channels that `put` takes at once

  // `sums`: the map before the pool.
  Ending(const Isa& isa, EndingSettings settings, const Shape& sums);

  Value output() const;
  const MaxPool& pool() const { return pool_; }
  int64_t bytes() const;
  // Bits that may be taken of words of any channels, each word by itself.
  bool is_bits() const { return form_ == EndingSettings::kBits; }
  // One threshold per channel: the pool's maximum of sums is the OR of bits, before a flip.
  bool one_bit() const { return one_bit_; }

  // What leaves of channels `channel` to `channel` + `count` at one position of the pooled map. For bits `channel` is a
  // multiple of 32, and `values` has room for whole words, whatever lies there.
  template <typename Number>
  void put(const Number* values, int channel, int count, const Call& call, int image, int y, int x) const;

  // Bits of 32 channels of an ending of one bit, before their flips; those from `count` on are 0.
  template <typename Number>
  uint32_t one_bits(const Number* values, int channel, int count) const {
    return reached(values, channel) & (count < 32 ? (1u << count) - 1 : ~0u);
  }
  const uint32_t* flips() const { return flips_.data(); }
  // Those of the channels, which somebody else compares with from here on.
  std::vector<int32_t> take_thresholds() { return std::exchange(thresholds_, {}); }

  // The pool and what leaves, of `images` whole maps of sums; `first` is the first image's place in the call's output.
  template <typename Number>
  void finish(const Number* sums, const Call& call, int first, int images) const;

 private:
  uint32_t reached(const int32_t* values, int64_t threshold) const {
    return isa_.at_least(values, thresholds_.data() + threshold);
  }
  uint32_t reached(const float* values, int64_t threshold) const {
    return isa_.at_least_float(values, real_thresholds_.data() + threshold);
  }

  const Isa& isa_;
  EndingSettings::Form form_;
  MaxPool pool_;
  Shape sums_, pooled_;
  bool per_position_, one_bit_;
  int planes_, levels_;
  int64_t features_, words_;  // of one level, of one plane
  std::vector<int32_t> thresholds_;
  std::vector<float> real_thresholds_;
  std::vector<uint32_t> flips_,
      changes_;  // [plane][word], [level][plane][word]: each position's channels in whole words
  std::vector<Affine> maps_;
};

}  // namespace xnorlit
