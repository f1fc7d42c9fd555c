// A layer whose weights and inputs are signs, with everything up to the next layer's input.
#pragma once

#include <memory>
#include <vector>

#include "bit_conv.h"
#include "layer.h"

namespace xnorlit {

// What becomes of the integer sums n, after the max pool.
struct Ending {
  enum Form {
    kBits,   // (n >= threshold) xor flip
    kReals,  // max(max(n * inner_scale + inner_shift, inner_floor) * scale + shift, floor)
    kSums,   // n
  };
  Form form = kSums;
  MaxPool pool;
  // One per output channel or, `per_feature`, one per position and channel of the pooled map.
  bool per_feature = false;
  std::vector<int32_t> thresholds;
  std::vector<uint8_t> flips;  // 0 or 1
  // Per output channel each.
  std::vector<float> inner_scale, inner_shift, scale, shift;
  float inner_floor = 0, floor = 0;  // minus infinity for none
};

struct BinarySettings {
  Shape input;
  Window window;
  int groups = 1;
  int outputs = 0;
  // Signs of the weights: [output][kernel row][kernel column][byte], channels of the group from the low bit up.
  const uint8_t* weights = nullptr;
  Ending ending;
};

class BinaryLayer final : public Layer {
 public:
  BinaryLayer(const Path& path, const BinarySettings& settings);

  Value input() const override { return {Value::kBits, input_}; }
  Value output() const override;
  BitMap input_map() const override { return {input_, window_.pad_y, window_.pad_x}; }
  int64_t scratch_bytes(int images) const override;
  int64_t resident_bytes() const override;
  void run(const Call& call) const override;

 private:
  bool direct() const { return groups() == 1 && ending_.form == Ending::kBits && !ending_.per_feature; }
  int groups() const { return static_cast<int>(convs_.size()); }
  Shape map() const;  // before the pool
  void run_direct(const Call& call, uint8_t* operand) const;
  void run_through_sums(const Call& call, uint8_t* operand) const;
  void finish(const int32_t* sums, const Call& call, int image, int y) const;

  const Path& path_;
  Shape input_;
  Window window_;
  std::vector<std::unique_ptr<BitConv>> convs_;  // one per group
  Ending ending_;
  // For a layer that writes bits directly: thresholds out of reach beyond the last channel, flips as words.
  std::vector<int32_t> tile_thresholds_;
  std::vector<uint32_t> flip_words_;
};

}  // namespace xnorlit
