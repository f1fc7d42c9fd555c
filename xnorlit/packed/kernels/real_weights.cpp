#include "real_weights.h"

#include <cstring>

namespace xnorlit {

RealWeights::RealWeights(const Isa& isa, int outputs, int64_t length, const float* weights)
    : isa_(isa),
      lanes_(isa.float_lanes),
      tile_blocks_(isa.float_blocks),
      blocks_((outputs + lanes_ - 1) / lanes_),
      block_bytes_(length * lanes_ * 4),
      memory_(static_cast<size_t>(blocks_ * block_bytes_)) {
  for (int output = 0; output < outputs; ++output)
    for (int64_t k = 0; k < length; ++k)
      std::memcpy(memory_.data() + output / lanes_ * block_bytes_ + (k * lanes_ + output % lanes_) * 4,
                  weights + output * length + k, 4);
}

RealWeights::RealWeights(const Isa& isa, int outputs, int64_t taps, int channels, const SignPlanes& planes,
                         int64_t stride)
    : isa_(isa),
      lanes_(isa.sign_lanes),
      tile_blocks_(isa.sign_blocks),
      blocks_((outputs + lanes_ - 1) / lanes_),
      block_bytes_(taps * channels * (lanes_ / 8)),
      factors_(planes.factors.begin(), planes.factors.end()),
      divided_(1.0f / static_cast<float>(planes.divisor)),
      memory_(factors_.size() * static_cast<size_t>(blocks_ * block_bytes_)) {
  const int octets = (channels + 7) / 8;
  for (size_t plane = 0; plane < factors_.size(); ++plane)
    for (int output = 0; output < outputs; ++output) {
      const uint8_t* from = planes.bits + static_cast<int64_t>(plane) * stride + output * taps * octets;
      uint8_t* block = memory_.data() + (static_cast<int64_t>(plane) * blocks_ + output / lanes_) * block_bytes_;
      const int lane = output % lanes_;
      for (int64_t k = 0; k < taps * channels; ++k) {
        const int channel = static_cast<int>(k % channels);
        const int bit = from[k / channels * octets + channel / 8] >> (channel % 8) & 1;
        block[k * (lanes_ / 8) + lane / 8] |= static_cast<uint8_t>(bit << (lane % 8));
      }
    }
}

void RealWeights::run(RealTile& tile, int block) const {
  const auto point_at = [&](size_t plane) {
    for (int b = 0; b < tile.blocks; ++b)
      tile.weights[b] = memory_.data() + (static_cast<int64_t>(plane) * blocks_ + block + b) * block_bytes_;
  };
  if (factors_.size() <= 1) point_at(0);
  if (factors_.empty()) return isa_.convolve(tile);
  if (factors_.size() == 1 && factors_[0] == 1 && divided_ == 1) return isa_.convolve_signs(tile);
  float totals[kMaxUnits * kFloatChannels] = {};
  const int count = tile.units * kFloatChannels;
  for (size_t plane = 0; plane < factors_.size(); ++plane) {
    point_at(plane);
    isa_.convolve_signs(tile);
    for (int c = 0; c < count; ++c) totals[c] += factors_[plane] * tile.sums[c];
  }
  for (int c = 0; c < count; ++c) tile.sums[c] = totals[c] * divided_;
}

}  // namespace xnorlit
