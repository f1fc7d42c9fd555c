#include "pixels.h"

#include <algorithm>

namespace xnorlit {

Reader::Reader(const Value& input, bool signed_inputs, const std::vector<float>& mean, const std::vector<float>& std)
    : input_(input), signed_inputs_(signed_inputs) {
  for (size_t c = 0; c < mean.size(); ++c)
    for (int value = 0; value < 256; ++value) levels_.push_back((static_cast<float>(value) - mean[c]) / std[c]);
}

template <typename Number>
void Reader::read(const void* in, int image, int y, int first, int channels, Number* to) const {
  const Shape& map = input_.shape;
  const int64_t at = (int64_t{image} * map.height + y) * map.width;
  for (int x = 0; x < map.width; ++x, to += channels) {
    const int64_t from = (at + x) * map.channels + first;
    if (input_.kind == Value::kReals) {
      std::copy_n(static_cast<const float*>(in) + from, channels, to);
    } else if (input_.kind == Value::kPixels) {
      const uint8_t* pixels = static_cast<const uint8_t*>(in) + from;
      const float* levels = levels_.data() + 256 * first;
      for (int c = 0; c < channels; ++c) to[c] = levels[256 * c + pixels[c]];
    } else {
      const BitMap bits = {map, 0, 0, input_.planes};
      const uint32_t* words = static_cast<const uint32_t*>(in) + bits.at(image, y, x);
      for (int c = 0; c < channels; ++c) {
        const int channel = first + c;
        int code = 0;
        for (int p = 0; p < bits.planes; ++p)
          code |= static_cast<int>(words[p * bits.plane_words() + channel / 32] >> (channel % 32) & 1) << p;
        to[c] = static_cast<Number>(signed_inputs_ ? 2 * code - 1 : code);
      }
    }
  }
}

template void Reader::read(const void*, int, int, int, int, float*) const;
template void Reader::read(const void*, int, int, int, int, double*) const;

}  // namespace xnorlit
