#include "real_layer.h"

#include <algorithm>
#include <cstring>

#include "bit_pool.h"
#include "pool.h"

namespace xnorlit {

RealLayer::RealLayer(const Isa& isa, const RealSettings& settings)
    : isa_(isa),
      input_(settings.input),
      window_(settings.window),
      groups_(settings.groups),
      sums_(window_.over(input_.shape, settings.outputs)),
      flat_(groups_ == 1 && sums_.positions() == 1 && window_.pad_y == 0 && window_.pad_x == 0 &&
            window_.kernel_y == input_.shape.height && window_.kernel_x == input_.shape.width),
      reader_(settings.input, settings.signed_inputs, settings.mean, settings.std),
      ending_(isa, settings.ending, sums_) {
  const int64_t taps = int64_t{window_.kernel_y} * window_.kernel_x, length = taps * group_channels();
  if (settings.weights && flat_) {
    rows_.assign(settings.weights, settings.weights + length * settings.outputs);
    return;
  }
  const int64_t bytes = taps * ((group_channels() + 7) / 8) * group_outputs();
  for (int g = 0; g < groups_; ++g) {
    if (settings.weights) {
      weights_.emplace_back(isa, group_outputs(), length, settings.weights + g * length * group_outputs());
    } else {
      SignPlanes planes = settings.planes;
      planes.bits += g * bytes;
      weights_.emplace_back(isa, group_outputs(), taps, group_channels(), planes, groups_ * bytes);
    }
  }
}

int64_t RealLayer::scratch_bytes(int images) const {
  if (flat()) return aligned(images * input_.shape.values() * 4) + aligned(images * sums_.values() * 4);
  return aligned(rows() * row_floats() * 4) + aligned(std::max(sums_.values(), BitMap{sums_}.image_words()) * 4);
}

int64_t RealLayer::resident_bytes() const {
  int64_t bytes = ending_.bytes() + reader_.bytes() + 4 * static_cast<int64_t>(rows_.size());
  for (const RealWeights& weights : weights_) bytes += weights.bytes();
  return bytes;
}

// One row of a group's channels with the zero border: zero behind the normalisation, as in training.
void RealLayer::pad(const Call& call, int image, int group, int row, float* floats) const {
  float* to = floats + row * row_floats();
  const int y = row - window_.pad_y;
  if (y < 0 || y >= input_.shape.height) {
    std::fill(to, to + row_floats(), 0.0f);
    return;
  }
  const int64_t border = int64_t{window_.pad_x} * group_channels(), inside = row_floats() - 2 * border;
  std::fill(to, to + border, 0.0f);
  std::fill(to + border + inside, to + row_floats(), 0.0f);
  reader_.read(call.in, image, y, group * group_channels(), group_channels(), to + border);
}

void RealLayer::run_row(const float* floats, int group, int y, float* sums, uint32_t* bits, const BitMap& map) const {
  alignas(64) float tile_sums[kMaxUnits * kFloatChannels] = {};  // compared 32 at a time, written or not
  const RealWeights& weights = weights_[group];
  RealTile tile;
  tile.rows = window_.kernel_y;
  tile.row_floats = row_floats();
  tile.run = window_.kernel_x * group_channels();
  tile.sums = tile_sums;
  const float* row = floats + int64_t{y} * window_.stride_y * row_floats();
  for (int block = 0; block < weights.blocks(); block += weights.tile_blocks()) {
    tile.blocks = std::min(weights.tile_blocks(), weights.blocks() - block);
    const int first = block * weights.lanes(), channel = group * group_outputs() + first;
    const int channels = std::min(tile.blocks * weights.lanes(), group_outputs() - first);
    for (int x = 0; x < sums_.width; x += kMaxUnits) {
      tile.units = std::min(kMaxUnits, sums_.width - x);
      for (int u = 0; u < tile.units; ++u) tile.inputs[u] = row + int64_t{x + u} * window_.stride_x * group_channels();
      weights.run(tile, block);
      for (int u = 0; u < tile.units; ++u) {
        const float* from = tile_sums + u * kFloatChannels;
        if (ending_.one_bit()) {
          uint32_t* to = bits + map.at(0, y, x + u);
          for (int c = 0; c < channels; c += 32)
            put_bits(to, channel + c, ending_.one_bits(from + c, channel + c, channels - c),
                     std::min(32, channels - c));
        } else {
          std::copy_n(from, channels, sums + (int64_t{y} * sums_.width + x + u) * sums_.channels + channel);
        }
      }
    }
  }
}

void RealLayer::run_flat(const Call& call) const {
  const int64_t length = input_.shape.values();
  auto* floats = reinterpret_cast<float*>(call.scratch);
  auto* sums = reinterpret_cast<float*>(call.scratch + aligned(call.images * length * 4));
  ThreadPool& pool = ThreadPool::instance();
  if (input_.kind != Value::kReals)
    pool.run(call.images, call.threads, [&](int image) {
      for (int y = 0; y < input_.shape.height; ++y)
        reader_.read(call.in, image, y, 0, input_.shape.channels,
                     floats + (int64_t{image} * input_.shape.height + y) * input_.shape.width * input_.shape.channels);
    });
  const float* inputs = input_.kind == Value::kReals ? static_cast<const float*>(call.in) : floats;
  const int outputs = sums_.channels;
  if (!rows_.empty()) {
    constexpr int kRows = 32;
    pool.run((outputs + kRows - 1) / kRows, call.threads, [&](int task) {
      const int first = task * kRows;
      isa_.multiply(rows_.data() + first * length, std::min(kRows, outputs - first), inputs, call.images, length,
                    sums + first, outputs);
    });
  } else {
    const RealWeights& weights = weights_[0];
    pool.run((weights.blocks() + weights.tile_blocks() - 1) / weights.tile_blocks(), call.threads, [&](int task) {
      alignas(64) float tile_sums[kMaxUnits * kFloatChannels] = {};
      const int block = task * weights.tile_blocks(), channel = block * weights.lanes();
      RealTile tile = {};
      tile.rows = 1;
      tile.run = static_cast<int>(length);
      tile.sums = tile_sums;
      tile.blocks = std::min(weights.tile_blocks(), weights.blocks() - block);
      const int channels = std::min(tile.blocks * weights.lanes(), outputs - channel);
      for (int image = 0; image < call.images; image += kMaxUnits) {
        tile.units = std::min(kMaxUnits, call.images - image);
        for (int u = 0; u < tile.units; ++u) tile.inputs[u] = inputs + (image + u) * length;
        weights.run(tile, block);
        for (int u = 0; u < tile.units; ++u)
          std::copy_n(tile_sums + u * kFloatChannels, channels, sums + int64_t{image + u} * outputs + channel);
      }
    });
  }
  ending_.finish(sums, call, 0, call.images);
}

void RealLayer::run(const Call& call) const {
  if (flat()) return run_flat(call);
  const BitMap map = {sums_};
  auto* floats = reinterpret_cast<float*>(call.scratch);
  uint8_t* rest = call.scratch + aligned(rows() * row_floats() * 4);
  auto* sums = reinterpret_cast<float*>(rest);
  auto* bits = reinterpret_cast<uint32_t*>(rest);
  ThreadPool& pool = ThreadPool::instance();
  // One image after the other: a padded one is as large as a second-level cache.
  for (int i = 0; i < call.images; ++i) {
    if (ending_.one_bit()) std::memset(bits, 0, static_cast<size_t>(map.image_words()) * 4);
    for (int g = 0; g < groups_; ++g) {
      pool.run(rows(), call.threads, [&](int row) { pad(call, i, g, row, floats); });
      pool.run(sums_.height, call.threads, [&](int y) { run_row(floats, g, y, sums, bits, map); });
    }
    if (ending_.one_bit()) {
      pool_bits(bits, map, ending_.pool(), ending_.flips(),
                static_cast<uint32_t*>(call.out) + i * call.out_map.image_words(), call.out_map);
    } else {
      ending_.finish(sums, call, i, 1);
    }
  }
}

}  // namespace xnorlit
