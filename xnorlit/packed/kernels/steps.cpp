#include "steps.h"

#include <algorithm>

#include "bit_pool.h"
#include "pool.h"

namespace xnorlit {

void TailStep::run(const StepCall& call) const {
  constexpr int kPositions = 8;
  const Shape& map = tail_->map();
  std::vector<TailOp>& ops = *call.ops;
  tail_->ops(call.values, nullptr, ops);
  const auto* in = reinterpret_cast<const float*>(call.values[in_]);
  ThreadPool::instance().run(call.images * map.height, call.threads, [&](int row) {
    const int image = row / map.height, y = row % map.height;
    for (int x = 0; x < map.width; x += kPositions) {
      const int positions = std::min(kPositions, map.width - x);
      for (int channel = 0; channel < map.channels; channel += kTileChannels) {
        const int count = std::min(kTileChannels, map.channels - channel);
        const TailTile tile = {in, nullptr, nullptr, 0, image, y, x, positions, channel, count, map};
        isa_.tail(ops.data(), static_cast<int>(ops.size()), tile);
      }
    }
  });
}

void PoolStep::run(const StepCall& call) const {
  const Shape out_map = pool_.over(map_);
  const auto* in = reinterpret_cast<const float*>(call.values[in_]);
  auto* out = reinterpret_cast<float*>(call.values[out_]);
  const auto size = static_cast<float>(pool_.size) * static_cast<float>(pool_.size);
  ThreadPool::instance().run(call.images * out_map.height, call.threads, [&](int row) {
    const int64_t image = row / out_map.height;
    const auto [top, bottom] = pool_.places(row % out_map.height, map_.height);
    for (int x = 0; x < out_map.width; ++x) {
      const auto [left, right] = pool_.places(x, map_.width);
      float* to = out + (int64_t{row} * out_map.width + x) * map_.channels;
      for (int y = top; y < bottom; ++y)
        for (int column = left; column < right; ++column) {
          const float* from = in + ((image * map_.height + y) * map_.width + column) * map_.channels;
          if (y == top && column == left) {
            std::copy_n(from, map_.channels, to);
          } else if (average_) {
            isa_.add_floats(to, from, map_.channels);
          } else {
            isa_.maximum_float(to, from, map_.channels);
          }
        }
      if (average_)
        for (int c = 0; c < map_.channels; ++c) to[c] /= size;
    }
  });
}

void BitPoolStep::run(const StepCall& call) const {
  const auto* in = reinterpret_cast<const uint32_t*>(call.values[in_]);
  auto* out = reinterpret_cast<uint32_t*>(call.values[out_]);
  ThreadPool::instance().run(call.images, call.threads, [&](int image) {
    pool_bits(in + image * in_map_.image_words(), in_map_, pool_, flips_.data(), out + image * out_map_.image_words(),
              out_map_);
  });
}

void CopyBitsStep::run(const StepCall& call) const {
  const auto* in = reinterpret_cast<const uint32_t*>(call.values[in_]);
  auto* out = reinterpret_cast<uint32_t*>(call.values[out_]);
  const int64_t row = int64_t{in_map_.shape.width} * in_map_.words();
  ThreadPool::instance().run(call.images * in_map_.planes, call.threads, [&](int task) {
    const int image = task / in_map_.planes, plane = task % in_map_.planes;
    for (int y = 0; y < in_map_.shape.height; ++y)
      std::copy_n(in + in_map_.at(image, y, 0) + plane * in_map_.plane_words(), row,
                  out + out_map_.at(image, y, 0) + plane * out_map_.plane_words());
  });
}

void GlobalAverageStep::run(const StepCall& call) const {
  const auto* in = reinterpret_cast<const float*>(call.values[in_]);
  auto* out = reinterpret_cast<float*>(call.values[out_]);
  constexpr int kChannels = 64;
  const int chunks = (map_.channels + kChannels - 1) / kChannels;
  const int64_t positions = map_.positions();
  ThreadPool::instance().run(call.images * chunks, call.threads, [&](int task) {
    const int64_t image = task / chunks, first = task % chunks * kChannels;
    const int count = static_cast<int>(std::min<int64_t>(kChannels, map_.channels - first));
    double sums[kChannels] = {};
    for (int64_t p = 0; p < positions; ++p) {
      const float* from = in + (image * positions + p) * map_.channels + first;
      for (int c = 0; c < count; ++c) sums[c] += from[c];
    }
    for (int c = 0; c < count; ++c)
      out[image * map_.channels + first + c] = static_cast<float>(sums[c] / static_cast<double>(positions));
  });
}

void MoveStep::run(const StepCall& call) const {
  auto* out = reinterpret_cast<float*>(call.values[out_]);
  ThreadPool::instance().run(call.images * out_map_.height, call.threads, [&](int row) {
    const int64_t image = row / out_map_.height, y = row % out_map_.height;
    for (int x = 0; x < out_map_.width; ++x) {
      float* to = out + (int64_t{row} * out_map_.width + x) * out_map_.channels;
      const int64_t from = (image * in_map_.height + y * stride_) * in_map_.width + int64_t{x} * stride_;
      int filled = 0;
      for (const Part& part : parts_) {
        std::fill(to + filled, to + part.first, 0.0f);
        std::copy_n(reinterpret_cast<const float*>(call.values[part.in]) + from * part.channels, part.channels,
                    to + part.first);
        filled = part.first + part.channels;
      }
      std::fill(to + filled, to + out_map_.channels, 0.0f);
    }
  });
}

}  // namespace xnorlit
