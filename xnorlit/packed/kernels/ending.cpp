#include "ending.h"

#include <algorithm>
#include <cstring>

#include "pool.h"

namespace xnorlit {
namespace {

uint32_t first_bits(int count) { return count < 32 ? (1u << count) - 1 : ~0u; }

// Rows of one 0 or 1 per feature to rows of words, each position's channels in words of its own.
std::vector<uint32_t> to_words(const std::vector<uint8_t>& bits, int64_t positions, int channels) {
  const int words = words_of(channels);
  const int64_t features = positions * channels, rows = static_cast<int64_t>(bits.size()) / features;
  std::vector<uint32_t> out(rows * positions * words);
  for (int64_t at = 0; at < rows * positions; ++at)
    for (int c = 0; c < channels; ++c) out[at * words + c / 32] |= uint32_t{bits[at * channels + c]} << (c % 32);
  return out;
}

}  // namespace

Ending::Ending(const Isa& isa, EndingSettings settings, const Shape& sums)
    : isa_(isa),
      form_(settings.form),
      pool_(settings.pool),
      sums_(sums),
      pooled_(pool_.over(sums)),
      per_position_(settings.per_position),
      one_bit_(is_bits() && settings.planes == 1 && settings.levels == 1 && !per_position_),
      planes_(settings.planes),
      levels_(settings.levels),
      features_(per_position_ ? pooled_.values() : pooled_.channels),
      words_((per_position_ ? pooled_.positions() : 1) * words_of(pooled_.channels)),
      thresholds_(std::move(settings.thresholds)),
      real_thresholds_(std::move(settings.real_thresholds)),
      maps_(std::move(settings.maps)) {
  if (!is_bits()) return;
  const int64_t positions = per_position_ ? pooled_.positions() : 1;
  flips_ = to_words(settings.flips, positions, pooled_.channels);
  changes_ = to_words(settings.changes, positions, pooled_.channels);
  // Compared 32 at a time, beyond the last one too.
  if (!thresholds_.empty()) thresholds_.resize(thresholds_.size() + 32);
  if (!real_thresholds_.empty()) real_thresholds_.resize(real_thresholds_.size() + 32);
}

Value Ending::output() const {
  switch (form_) {
    case EndingSettings::kBits: return {Value::kBits, pooled_, planes_};
    case EndingSettings::kReals: return {Value::kReals, pooled_};
    default: return {Value::kSums, pooled_};
  }
}

int64_t Ending::bytes() const {
  size_t numbers = thresholds_.size() + real_thresholds_.size() + flips_.size() + changes_.size();
  for (const Affine& map : maps_) numbers += map.scale.size() + map.shift.size() + map.slopes.size();
  return 4 * static_cast<int64_t>(numbers);
}

template <typename Number>
void Ending::put(const Number* values, int channel, int count, const Call& call, int image, int y, int x) const {
  const int64_t position = int64_t{y} * pooled_.width + x;
  const int64_t feature = (per_position_ ? position * pooled_.channels : 0) + channel;
  if (form_ == EndingSettings::kBits) {
    const int64_t word = (per_position_ ? position * words_of(pooled_.channels) : 0) + channel / 32;
    uint32_t* to = static_cast<uint32_t*>(call.out) + call.out_map.at(image, y, x) + channel / 32;
    for (int w = 0; w < words_of(count); ++w) {
      uint32_t bits[8];
      for (int p = 0; p < planes_; ++p) bits[p] = flips_[p * words_ + word + w];
      for (int level = 0; level < levels_; ++level) {
        const uint32_t turns = reached(values + 32 * w, level * features_ + feature + 32 * w);
        if (changes_.empty()) {
          bits[0] ^= turns;
        } else {
          for (int p = 0; p < planes_; ++p) bits[p] ^= turns & changes_[(level * planes_ + p) * words_ + word + w];
        }
      }
      for (int p = 0; p < planes_; ++p) to[p * call.out_map.plane_words() + w] = bits[p] & first_bits(count - 32 * w);
    }
    return;
  }
  const int64_t at = (image * pooled_.positions() + position) * pooled_.channels + channel;
  if (form_ == EndingSettings::kSums) {
    std::memcpy(static_cast<Number*>(call.out) + at, values, sizeof(Number) * count);
    return;
  }
  float* to = static_cast<float*>(call.out) + at;
  for (int c = 0; c < count; ++c) to[c] = static_cast<float>(values[c]);
  for (const Affine& map : maps_) {
    const bool one_slope = map.slopes.size() == 1;
    isa_.affine(to, map.scale.data() + feature, map.shift.data() + feature,
                map.slopes.data() + (one_slope ? 0 : feature), one_slope, count);
  }
}

template <typename Number>
void Ending::finish(const Number* sums, const Call& call, int first, int images) const {
  const auto take_larger = [&](Number* values, const Number* others, int count) {
    if constexpr (std::is_same_v<Number, float>) {
      isa_.maximum_float(values, others, count);
    } else {
      isa_.maximum(values, others, count);
    }
  };
  ThreadPool::instance().run(images * pooled_.height, call.threads, [&](int row) {
    const int image = row / pooled_.height, y = row % pooled_.height;
    const auto [top, bottom] = pool_.places(y, sums_.height);
    for (int x = 0; x < pooled_.width; ++x) {
      const auto [left, right] = pool_.places(x, sums_.width);
      const int64_t corner = (int64_t{image} * sums_.height + top) * sums_.width + left;
      for (int channel = 0; channel < sums_.channels; channel += kChunk) {
        alignas(64) Number values[kChunk] = {};
        const int count = std::min(kChunk, sums_.channels - channel);
        std::memcpy(values, sums + corner * sums_.channels + channel, sizeof(Number) * count);
        for (int tap = 1; tap < (bottom - top) * (right - left); ++tap) {
          const int64_t from = corner + int64_t{tap / (right - left)} * sums_.width + tap % (right - left);
          take_larger(values, sums + from * sums_.channels + channel, count);
        }
        put(values, channel, count, call, first + image, y, x);
      }
    }
  });
}

template void Ending::put(const int32_t*, int, int, const Call&, int, int, int) const;
template void Ending::put(const float*, int, int, const Call&, int, int, int) const;
template void Ending::finish(const int32_t*, const Call&, int, int) const;
template void Ending::finish(const float*, const Call&, int, int) const;

}  // namespace xnorlit
