#include "byte_layers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bit_pool.h"
#include "pool.h"

namespace xnorlit {
namespace {

// Writes a value as the instruction set reads it: one byte, or two.
template <typename Number>
void put(uint8_t* to, int width, Number value) {
  if (width == 1) {
    std::memcpy(to, &value, 1);
  } else {
    const int16_t wide = value;
    std::memcpy(to, &wide, 2);
  }
}

void widen(const uint8_t* values, int64_t count, int width, uint8_t* to) {
  if (width == 1) {
    std::memcpy(to, values, static_cast<size_t>(count));
  } else {
    for (int64_t v = 0; v < count; ++v) put(to + 2 * v, 2, values[v]);
  }
}

void to_levels(const float* values, int64_t count, float step, int width, uint8_t* to) {
  for (int64_t v = 0; v < count; ++v) {
    const float level = std::clamp(values[v] / step, 0.0f, 255.0f);
    put(to + v * width, width, static_cast<uint8_t>(std::lrint(level)));
  }
}

}  // namespace

ByteWeights::ByteWeights(const Isa& isa, int outputs, int rows, int row_values, const int8_t* weights)
    : blocks_((outputs + isa.float_lanes - 1) / isa.float_lanes),
      run_((row_values * isa.byte_width + 3) / 4),
      block_bytes_(static_cast<size_t>(rows) * run_ * isa.float_lanes * 4),
      words_(blocks_ * block_bytes_) {
  const int per_word = 4 / isa.byte_width;
  for (int output = 0; output < outputs; ++output) {
    uint8_t* block = words_.data() + output / isa.float_lanes * block_bytes_;
    for (int row = 0; row < rows; ++row)
      for (int value = 0; value < row_values; ++value) {
        const int64_t word = (int64_t{row} * run_ + value / per_word) * isa.float_lanes + output % isa.float_lanes;
        put(block + 4 * word + value % per_word * isa.byte_width, isa.byte_width,
            weights[(int64_t{output} * rows + row) * row_values + value]);
      }
  }
}

ByteConv::ByteConv(const Isa& isa, const ByteConvSettings& settings)
    : isa_(isa),
      input_(settings.input),
      step_(settings.step),
      window_(settings.window),
      sums_(window_.over(input_, settings.outputs)),
      weights_(isa, settings.outputs, window_.kernel_y, window_.kernel_x * input_.channels, settings.weights),
      fill_(settings.fill),
      ending_(isa, settings.ending, sums_) {}

int64_t ByteConv::scratch_bytes(int) const {
  return aligned(image_bytes()) + aligned(std::max(sums_.values(), BitMap{sums_}.image_words()) * 4);
}

// One row of an image as bytes, with the border.
void ByteConv::pad(const Call& call, int image, int row, uint8_t* to) const {
  const int width = isa_.byte_width, channels = input_.channels, y = row - window_.pad_y;
  const int64_t inside = int64_t{input_.width} * channels, at = image * input_.values() + y * inside;
  const int64_t border = y < 0 || y >= input_.height ? row_values() : int64_t{window_.pad_x} * channels;
  to += row * row_values() * width;
  for (int64_t v = 0; v < border; ++v) put(to + v * width, width, fill_[v % channels]);
  if (border == row_values()) return;
  if (step_ > 0) {
    to_levels(static_cast<const float*>(call.in) + at, inside, step_, width, to + border * width);
  } else {
    widen(static_cast<const uint8_t*>(call.in) + at, inside, width, to + border * width);
  }
  for (int64_t v = border + inside; v < row_values(); ++v) put(to + v * width, width, fill_[v % channels]);
}

void ByteConv::run_row(const uint8_t* image, int32_t* sums, uint32_t* bits, const BitMap& map, int y) const {
  alignas(64) int32_t tile_sums[kMaxUnits * kFloatChannels] = {};  // compared 32 at a time, written or not
  const int64_t row_bytes = row_values() * isa_.byte_width;
  ByteTile tile;
  tile.rows = window_.kernel_y;
  tile.row_bytes = row_bytes;
  tile.run = weights_.run();
  tile.sums = tile_sums;
  const uint8_t* row = image + int64_t{y} * window_.stride_y * row_bytes;
  for (int block = 0; block < weights_.blocks(); block += isa_.float_blocks) {
    const int channel = block * isa_.float_lanes;
    tile.blocks = std::min(isa_.float_blocks, weights_.blocks() - block);
    const int channels = std::min(tile.blocks * isa_.float_lanes, sums_.channels - channel);
    for (int b = 0; b < tile.blocks; ++b) tile.weights[b] = weights_.block(block + b);
    for (int x = 0; x < map.shape.width; x += kMaxUnits) {
      tile.units = std::min(kMaxUnits, map.shape.width - x);
      for (int u = 0; u < tile.units; ++u)
        tile.inputs[u] = row + int64_t{x + u} * window_.stride_x * input_.channels * isa_.byte_width;
      isa_.multiply_bytes(tile);
      for (int u = 0; u < tile.units; ++u) {
        const int32_t* from = tile_sums + u * kFloatChannels;
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

void ByteConv::run(const Call& call) const {
  const BitMap map = {sums_};
  uint8_t* image = call.scratch;
  uint8_t* rest = call.scratch + aligned(image_bytes());
  auto* sums = reinterpret_cast<int32_t*>(rest);
  auto* bits = reinterpret_cast<uint32_t*>(rest);
  ThreadPool& pool = ThreadPool::instance();
  for (int i = 0; i < call.images; ++i) {
    pool.run(input_.height + 2 * window_.pad_y, call.threads, [&](int row) { pad(call, i, row, image); });
    if (ending_.one_bit()) std::memset(bits, 0, static_cast<size_t>(map.image_words()) * 4);
    pool.run(sums_.height, call.threads, [&](int y) { run_row(image, sums, bits, map, y); });
    if (ending_.one_bit()) {
      pool_bits(bits, map, ending_.pool(), ending_.flips(),
                static_cast<uint32_t*>(call.out) + i * call.out_map.image_words(), call.out_map);
    } else {
      ending_.finish(sums, call, i, 1);
    }
  }
}

ByteLinear::ByteLinear(const Isa& isa, const Shape& input, int outputs, float step, const int8_t* weights,
                       const EndingSettings& ending)
    : isa_(isa),
      input_(input),
      outputs_(outputs),
      step_(step),
      weights_(isa, outputs, 1, static_cast<int>(input.values()), weights),
      ending_(isa, ending, {1, 1, outputs}) {}

void ByteLinear::run(const Call& call) const {
  const auto* in = static_cast<const float*>(call.in);
  auto* sums = reinterpret_cast<int32_t*>(call.scratch + aligned(call.images * row_bytes()));
  const int64_t length = input_.values();
  const int width = isa_.byte_width;
  ThreadPool& pool = ThreadPool::instance();
  pool.run(call.images, call.threads, [&](int image) {
    uint8_t* row = call.scratch + image * row_bytes();
    std::memset(row + length * width, 0, static_cast<size_t>(row_bytes() - length * width));
    to_levels(in + image * length, length, step_, width, row);
  });
  const int groups = (weights_.blocks() + isa_.float_blocks - 1) / isa_.float_blocks;
  pool.run(groups, call.threads, [&](int group) {
    alignas(64) int32_t tile_sums[kMaxUnits * kFloatChannels];
    ByteTile tile = {};
    const int first = group * isa_.float_blocks, channel = first * isa_.float_lanes;
    tile.rows = 1;
    tile.run = weights_.run();
    tile.blocks = std::min(isa_.float_blocks, weights_.blocks() - first);
    tile.sums = tile_sums;
    for (int b = 0; b < tile.blocks; ++b) tile.weights[b] = weights_.block(first + b);
    const int channels = std::min(tile.blocks * isa_.float_lanes, outputs_ - channel);
    for (int image = 0; image < call.images; image += kMaxUnits) {
      tile.units = std::min(kMaxUnits, call.images - image);
      for (int u = 0; u < tile.units; ++u) tile.inputs[u] = call.scratch + (image + u) * row_bytes();
      isa_.multiply_bytes(tile);
      for (int u = 0; u < tile.units; ++u)
        std::copy_n(tile_sums + u * kFloatChannels, channels, sums + int64_t{image + u} * outputs_ + channel);
    }
  });
  ending_.finish(sums, call, 0, call.images);
}

}  // namespace xnorlit
