#include "double_layer.h"

#include <algorithm>

#include "pool.h"

namespace xnorlit {

DoubleLayer::DoubleLayer(const Isa& isa, const RealSettings& settings)
    : isa_(isa),
      input_(settings.input),
      window_(settings.window),
      groups_(settings.groups),
      sums_(window_.over(input_.shape, settings.outputs)),
      depthwise_(groups_ == input_.shape.channels && groups_ == settings.outputs),
      reader_(settings.input, settings.signed_inputs, settings.mean, settings.std),
      ending_(isa, settings.ending, sums_) {
  const int64_t taps = int64_t{window_.kernel_y} * window_.kernel_x, length = taps * (input_.shape.channels / groups_);
  const int outputs = sums_.channels / groups_, lanes = isa_.float_lanes;
  if (depthwise_) {
    weights_.resize(static_cast<size_t>(taps * groups_));
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int c = 0; c < groups_; ++c) weights_[tap * groups_ + c] = settings.weights[c * taps + tap];
    return;
  }
  weights_.resize(static_cast<size_t>(groups_ * blocks() * length * lanes));
  for (int g = 0; g < groups_; ++g)
    for (int o = 0; o < outputs; ++o) {
      double* block = weights_.data() + (int64_t{g} * blocks() + o / lanes) * length * lanes;
      const float* from = settings.weights + (int64_t{g} * outputs + o) * length;
      for (int64_t k = 0; k < length; ++k) block[k * lanes + o % lanes] = from[k];
    }
}

int64_t DoubleLayer::scratch_bytes(int) const {
  return aligned(rows() * row_doubles() * 8) + aligned(sums_.values() * 4);
}

// One row of a pass's channels with the zero border.
void DoubleLayer::pad(const Call& call, int image, int pass, int row, double* to) const {
  const int y = row - window_.pad_y;
  if (y < 0 || y >= input_.shape.height) {
    std::fill(to, to + row_doubles(), 0.0);
    return;
  }
  const int64_t border = int64_t{window_.pad_x} * pass_channels();
  std::fill(to, to + border, 0.0);
  std::fill(to + row_doubles() - border, to + row_doubles(), 0.0);
  reader_.read(call.in, image, y, pass * pass_channels(), pass_channels(), to + border);
}

void DoubleLayer::run_row(const double* doubles, int pass, int y, float* sums) const {
  const double* row = doubles + int64_t{y} * window_.stride_y * row_doubles();
  float* to = sums + int64_t{y} * sums_.width * sums_.channels;
  if (depthwise_) {
    for (int x = 0; x < sums_.width; ++x)
      isa_.convolve_depthwise(row + int64_t{x} * window_.stride_x * groups_, row_doubles(), window_.kernel_y,
                              window_.kernel_x, weights_.data(), groups_, groups_, to + int64_t{x} * groups_);
    return;
  }
  alignas(64) float tile_sums[kMaxUnits * kFloatChannels];
  const int outputs = sums_.channels / groups_, lanes = isa_.float_lanes;
  const int64_t block_doubles = window_.kernel_y * run_length() * lanes;
  DoubleTile tile;
  tile.rows = window_.kernel_y;
  tile.row_doubles = row_doubles();
  tile.run = static_cast<int>(run_length());
  tile.sums = tile_sums;
  for (int block = 0; block < blocks(); block += isa_.double_blocks) {
    tile.blocks = std::min(isa_.double_blocks, blocks() - block);
    const int first = block * lanes, channels = std::min(tile.blocks * lanes, outputs - first);
    for (int b = 0; b < tile.blocks; ++b)
      tile.weights[b] = weights_.data() + (int64_t{pass} * blocks() + block + b) * block_doubles;
    for (int x = 0; x < sums_.width; x += kMaxUnits) {
      tile.units = std::min(kMaxUnits, sums_.width - x);
      for (int u = 0; u < tile.units; ++u) tile.inputs[u] = row + int64_t{x + u} * window_.stride_x * pass_channels();
      isa_.convolve_double(tile);
      for (int u = 0; u < tile.units; ++u)
        std::copy_n(tile_sums + u * kFloatChannels, channels,
                    to + int64_t{x + u} * sums_.channels + pass * outputs + first);
    }
  }
}

void DoubleLayer::run(const Call& call) const {
  auto* doubles = reinterpret_cast<double*>(call.scratch);
  auto* sums = reinterpret_cast<float*>(call.scratch + aligned(rows() * row_doubles() * 8));
  ThreadPool& pool = ThreadPool::instance();
  for (int i = 0; i < call.images; ++i) {
    for (int pass = 0; pass < passes(); ++pass) {
      pool.run(rows(), call.threads, [&](int row) { pad(call, i, pass, row, doubles + row * row_doubles()); });
      pool.run(sums_.height, call.threads, [&](int y) { run_row(doubles, pass, y, sums); });
    }
    ending_.finish(sums, call, i, 1);
  }
}

}  // namespace xnorlit
