// A layer whose weights and inputs are few-bit, with everything up to the next layer's input.
#pragma once

#include <memory>
#include <vector>

#include "bit_conv.h"
#include "ending.h"
#include "layer.h"
#include "tail.h"

namespace xnorlit {

struct BinarySettings {
  Shape input;
  Window window;
  int groups = 1;
  int outputs = 0;
  Planes planes;
  // Planes of the weights: [plane][output][kernel row][kernel column][byte], channels of the group from the low bit up.
  const uint8_t* weights = nullptr;
  // XNOR-Net's K: the layer reads reals, takes their signs, and multiplies its sums at each position by the mean
  // magnitude of the reals under it, those of the padding being 0.
  bool scaled = false;
  // Signs beyond the map are +1, which its border then holds.
  bool ones = false;
  EndingSettings ending;
};

class BinaryLayer final : public Layer {
 public:
  BinaryLayer(const Isa& isa, const BinarySettings& settings);

  Value input() const override;
  Value output() const override { return ending_.output(); }
  BitMap input_map() const override;
  bool border_of_ones() const override { return ones_; }
  int64_t scratch_bytes(int images) const override;
  int64_t resident_bytes() const override;
  void run(const Call& call) const override;

  // Whether a tail may take the sums where they arise, in place of the ending.
  bool takes(const Tail& tail) const;
  int64_t tail_scratch_bytes(const Tail& tail, int images) const;
  // Runs with a tail; `values` as in Tail::ops.
  void run_tail(const Call& call, const Tail& tail, uint8_t* const* values, std::vector<TailOp>& ops) const;

 private:
  // Whether sums become what leaves where they arise, so that no map of integers is ever in memory. Bits of a group
  // need not begin with a word.
  bool direct() const { return !scaled_ && ending_.pool().none() && (groups() == 1 || !ending_.is_bits()); }
  // Whether one threshold per channel is all, so that a pool is one of bits.
  bool threshold_only() const { return !scaled_ && groups() == 1 && ending_.one_bit(); }
  int groups() const { return static_cast<int>(convs_.size()); }
  // `first_channel` is the sink's own, of the group at hand.
  void run_bits(const uint32_t* bits, const Call& call, uint8_t*& scratch, uint32_t* out, const BitMap& map,
                bool flipped) const;
  template <typename Begin>
  void run_groups(const uint32_t* bits, const Call& call, uint8_t*& scratch, const Sink& sink, int& first_channel,
                  const Begin& begin) const;
  void run_groups(const uint32_t* bits, const Call& call, uint8_t*& scratch, const Sink& sink,
                  int& first_channel) const;
  void add_windows(const uint32_t* bits, const Call& call, int32_t* counts, int32_t* sums) const;
  const uint32_t* pack(const Call& call, uint8_t*& scratch) const;
  const float* scale(int32_t* sums, const Call& call, uint8_t*& scratch) const;

  const Isa& isa_;
  BitMap bits_;  // of the input, with the border
  Window window_;
  bool scaled_, ones_;
  std::vector<std::unique_ptr<BitConv>> convs_;  // one per group
  Shape sums_;                                   // before the pool
  Ending ending_;
};

}  // namespace xnorlit
