#include "real_layers.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "bit_pool.h"
#include "pool.h"

namespace xnorlit {
namespace {

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

FloatConv::FloatConv(const Path& path, const FloatConvSettings& settings)
    : path_(path),
      input_(settings.input),
      window_(settings.window),
      outputs_(settings.outputs),
      blocks_((settings.outputs + path.float_lanes - 1) / path.float_lanes),
      pool_(settings.pool) {
  const int lanes = path.float_lanes;
  const int length = window_.kernel_y * window_.kernel_x * input_.channels;
  weights_.assign(static_cast<size_t>(blocks_) * length * lanes, 0.0f);
  for (int output = 0; output < outputs_; ++output)
    for (int k = 0; k < length; ++k)
      weights_[(int64_t{output / lanes} * length + k) * lanes + output % lanes] =
          settings.weights[int64_t{output} * length + k];
  for (int c = 0; c < input_.channels; ++c)
    for (int value = 0; value < 256; ++value)
      levels_.push_back((static_cast<float>(value) - settings.mean[c]) / settings.std[c]);
  // A tile's sums are compared 32 at a time.
  const int room = (outputs_ + 31) / 32 * 32 + kFloatChannels;
  thresholds_.assign(room, std::numeric_limits<float>::infinity());
  std::copy(settings.thresholds.begin(), settings.thresholds.end(), thresholds_.begin());
  flips_.assign(words_of(outputs_), 0);
  for (int c = 0; c < outputs_; ++c) flips_[c / 32] |= uint32_t{settings.flips[c]} << (c % 32);
}

int64_t FloatConv::scratch_bytes(int) const {
  return aligned(rows() * row_floats() * 4) + aligned(BitMap{window_.over(input_, outputs_)}.image_words() * 4);
}

// The zero border is zero after the normalisation, as in training.
void FloatConv::normalize(const uint8_t* pixels, float* image, int row) const {
  float* to = image + row * row_floats();
  const int y = row - window_.pad_y;
  if (y < 0 || y >= input_.height) {
    std::fill(to, to + row_floats(), 0.0f);
    return;
  }
  const int64_t border = int64_t{window_.pad_x} * input_.channels, inside = int64_t{input_.width} * input_.channels;
  std::fill(to, to + border, 0.0f);
  std::fill(to + border + inside, to + row_floats(), 0.0f);
  const uint8_t* from = pixels + y * inside;
  to += border;
  const int channels = input_.channels;
  for (int64_t x = 0; x < inside; x += channels)
    for (int c = 0; c < channels; ++c) to[x + c] = levels_[256 * c + from[x + c]];
}

void FloatConv::run_row(const float* image, uint32_t* bits, const BitMap& map, int y) const {
  const int length = window_.kernel_y * window_.kernel_x * input_.channels;
  alignas(64) float sums[kMaxUnits * kFloatChannels] = {};  // compared 32 at a time, written or not
  FloatTile tile;
  tile.rows = window_.kernel_y;
  tile.row_floats = row_floats();
  tile.run = window_.kernel_x * input_.channels;
  tile.sums = sums;
  const float* row = image + int64_t{y} * window_.stride_y * row_floats();
  for (int block = 0; block < blocks_; block += path_.float_blocks) {
    const int channel = block * path_.float_lanes;
    tile.blocks = std::min(path_.float_blocks, blocks_ - block);
    const int channels = std::min(tile.blocks * path_.float_lanes, outputs_ - channel);
    for (int b = 0; b < tile.blocks; ++b)
      tile.weights[b] = weights_.data() + static_cast<int64_t>(block + b) * length * path_.float_lanes;
    for (int x = 0; x < map.shape.width; x += kMaxUnits) {
      tile.units = std::min(kMaxUnits, map.shape.width - x);
      for (int u = 0; u < tile.units; ++u)
        tile.inputs[u] = row + int64_t{x + u} * window_.stride_x * input_.channels;
      path_.convolve(tile);
      for (int u = 0; u < tile.units; ++u) {
        uint32_t* to = bits + map.at(0, y, x + u);
        for (int c = 0; c < channels; c += 32) {
          const uint32_t found = path_.at_least_float(sums + u * kFloatChannels + c, thresholds_.data() + channel + c);
          put_bits(to, channel + c, found, std::min(32, channels - c));
        }
      }
    }
  }
}

void FloatConv::run(const Call& call) const {
  const auto* pixels = static_cast<const uint8_t*>(call.in);
  auto* out = static_cast<uint32_t*>(call.out);
  const BitMap map = {window_.over(input_, outputs_)};
  auto* image = reinterpret_cast<float*>(call.scratch);
  auto* bits = reinterpret_cast<uint32_t*>(call.scratch + aligned(rows() * row_floats() * 4));
  ThreadPool& pool = ThreadPool::instance();
  // One image after the other: the normalised one is as large as a second-level cache.
  for (int i = 0; i < call.images; ++i) {
    pool.run(rows(), call.threads, [&](int row) { normalize(pixels + i * input_.values(), image, row); });
    std::memset(bits, 0, static_cast<size_t>(map.image_words()) * 4);
    pool.run(map.shape.height, call.threads, [&](int y) { run_row(image, bits, map, y); });
    pool_bits(bits, map, pool_, flips_.data(), out + i * call.out_map.image_words(), call.out_map);
  }
}

FloatLinear::FloatLinear(const Path& path, const Shape& input, int outputs, std::vector<float> weights,
                         std::vector<float> bias)
    : path_(path), input_(input), outputs_(outputs), weights_(std::move(weights)), bias_(std::move(bias)) {}

void FloatLinear::run(const Call& call) const {
  const auto* in = static_cast<const float*>(call.in);
  auto* out = static_cast<float*>(call.out);
  const int64_t length = input_.values();
  constexpr int kRows = 32;
  ThreadPool::instance().run((outputs_ + kRows - 1) / kRows, call.threads, [&](int task) {
    const int first = task * kRows, rows = std::min(kRows, outputs_ - first);
    path_.multiply(weights_.data() + first * length, bias_.data() + first, rows, in, call.images, length, out + first,
                   outputs_);
  });
}

void SignLayer::run(const Call& call) const {
  const auto* in = static_cast<const float*>(call.in);
  auto* out = static_cast<uint32_t*>(call.out);
  ThreadPool::instance().run(call.images * input_.height, call.threads, [&](int row) {
    const int image = row / input_.height, y = row % input_.height;
    for (int x = 0; x < input_.width; ++x)
      path_.pack_signs(in + (int64_t{row} * input_.width + x) * input_.channels, input_.channels,
                       out + call.out_map.at(image, y, x));
  });
}

}  // namespace xnorlit
