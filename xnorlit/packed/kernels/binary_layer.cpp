#include "binary_layer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "bit_pool.h"
#include "pool.h"

namespace xnorlit {
namespace {

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Thresholds the sums where they arise; neither an integer nor a float map is ever in memory.
class BitSink final : public Sink {
 public:
  BitSink(const Path& path, const int32_t* thresholds, const uint32_t* flips, uint32_t* bits, const BitMap& map)
      : path_(path), thresholds_(thresholds), flips_(flips), bits_(bits), map_(map) {}

  void take(int image, int y, int x, int channel, const int32_t* dots, int count) const override {
    uint32_t* to = bits_ + map_.at(image, y, x) + channel / 32;
    const int words = words_of(count);
    for (int w = 0; w < words; ++w) {
      const uint32_t bits = path_.at_least(dots + 32 * w, thresholds_ + channel + 32 * w);
      to[w] = flips_ ? bits ^ flips_[channel / 32 + w] : bits;
    }
  }

 private:
  const Path& path_;
  const int32_t* thresholds_;
  const uint32_t* flips_;
  uint32_t* bits_;
  BitMap map_;
};

class SumSink final : public Sink {
 public:
  SumSink(int32_t* sums, const Shape& map, int first_channel) : sums_(sums), map_(map), first_channel_(first_channel) {}

  void take(int image, int y, int x, int channel, const int32_t* dots, int count) const override {
    const int64_t position = (int64_t{image} * map_.height + y) * map_.width + x;
    std::memcpy(sums_ + position * map_.channels + first_channel_ + channel, dots, sizeof(int32_t) * count);
  }

 private:
  int32_t* sums_;
  Shape map_;
  int first_channel_;
};

// `count` bits from bit `from` on, to whole words.
void slice_bits(const uint32_t* words, int from, int count, uint32_t* out) {
  for (int start = 0; start < count; start += 32) {
    uint32_t bits = 0;
    for (int c = start; c < std::min(start + 32, count); ++c)
      bits |= (words[(from + c) / 32] >> ((from + c) % 32) & 1u) << (c - start);
    out[start / 32] = bits;
  }
}

}  // namespace

BinaryLayer::BinaryLayer(const Path& path, const BinarySettings& settings)
    : path_(path), input_(settings.input), window_(settings.window), ending_(settings.ending) {
  const Shape group = {input_.height, input_.width, input_.channels / settings.groups};
  const int outputs = settings.outputs / settings.groups;
  const int64_t taps = int64_t{window_.kernel_y} * window_.kernel_x;
  const int bytes = (group.channels + 7) / 8, words = words_of(group.channels);
  const uint32_t last = group.channels % 32 ? (1u << group.channels % 32) - 1 : ~0u;
  std::vector<uint32_t> rows(outputs * taps * words);
  for (int g = 0; g < settings.groups; ++g) {
    std::fill(rows.begin(), rows.end(), 0);
    for (int64_t row = 0; row < outputs * taps; ++row) {
      const uint8_t* from = settings.weights + (g * outputs * taps + row) * bytes;
      for (int b = 0; b < bytes; ++b) rows[row * words + b / 4] |= uint32_t{from[b]} << (8 * (b % 4));
      rows[row * words + words - 1] &= last;
    }
    convs_.push_back(std::make_unique<BitConv>(path, group, window_, outputs, rows.data()));
  }
  if (direct()) {
    const int room = (settings.outputs + kTileChannels - 1) / kTileChannels * kTileChannels;
    tile_thresholds_.assign(room, std::numeric_limits<int32_t>::max());
    flip_words_.assign(room / 32, 0);
    std::copy(ending_.thresholds.begin(), ending_.thresholds.end(), tile_thresholds_.begin());
    for (int c = 0; c < settings.outputs; ++c) flip_words_[c / 32] |= uint32_t{ending_.flips[c]} << (c % 32);
    ending_.thresholds = {};
    ending_.flips = {};
  }
}

Shape BinaryLayer::map() const {
  Shape map = convs_[0]->output();
  map.channels *= groups();
  return map;
}

Value BinaryLayer::output() const {
  const Shape pooled = ending_.pool.over(map());
  switch (ending_.form) {
    case Ending::kBits: return {Value::kBits, pooled};
    case Ending::kReals: return {Value::kReals, pooled};
    default: return {Value::kSums, pooled};
  }
}

int64_t BinaryLayer::resident_bytes() const {
  int64_t bytes = 4 * static_cast<int64_t>(tile_thresholds_.size() + flip_words_.size() + ending_.thresholds.size());
  bytes += static_cast<int64_t>(ending_.flips.size()) + 16 * static_cast<int64_t>(ending_.scale.size());
  for (const auto& conv : convs_) bytes += conv->weight_bytes();
  return bytes;
}

int64_t BinaryLayer::scratch_bytes(int images) const {
  int64_t bytes = aligned(convs_[0]->operand_bytes(images));
  if (!direct()) {
    bytes += aligned(images * map().values() * 4);
  } else if (!ending_.pool.none()) {
    bytes += aligned(images * BitMap{map()}.image_words() * 4);
  }
  if (groups() > 1) bytes += aligned(images * convs_[0]->input().image_words() * 4);
  return bytes;
}

void BinaryLayer::run(const Call& call) const {
  uint8_t* operand = call.scratch;
  Call rest = call;
  rest.scratch += aligned(convs_[0]->operand_bytes(call.images));
  direct() ? run_direct(rest, operand) : run_through_sums(rest, operand);
}

void BinaryLayer::run_direct(const Call& call, uint8_t* operand) const {
  const auto* bits = static_cast<const uint32_t*>(call.in);
  auto* out = static_cast<uint32_t*>(call.out);
  const MaxPool& pool = ending_.pool;
  if (pool.none()) {
    const BitSink sink(path_, tile_thresholds_.data(), flip_words_.data(), out, call.out_map);
    convs_[0]->run(bits, call.images, operand, call.threads, sink);
    return;
  }
  auto* unpooled = reinterpret_cast<uint32_t*>(call.scratch);
  const BitMap map = {this->map()};
  const BitSink sink(path_, tile_thresholds_.data(), nullptr, unpooled, map);
  convs_[0]->run(bits, call.images, operand, call.threads, sink);
  for (int image = 0; image < call.images; ++image)
    pool_bits(unpooled + image * map.image_words(), map, pool, flip_words_.data(),
              out + image * call.out_map.image_words(), call.out_map);
}

void BinaryLayer::run_through_sums(const Call& call, uint8_t* operand) const {
  const auto* bits = static_cast<const uint32_t*>(call.in);
  const Shape map = this->map();
  auto* sums = reinterpret_cast<int32_t*>(call.scratch);
  auto* slices = reinterpret_cast<uint32_t*>(call.scratch + aligned(call.images * map.values() * 4));
  for (int g = 0; g < groups(); ++g) {
    const BitConv& conv = *convs_[g];
    const BitMap& slice = conv.input();
    if (groups() > 1) {
      const int64_t positions = call.images * slice.image_words() / slice.words();  // border included
      const int words = words_of(input_.channels);
      for (int64_t p = 0; p < positions; ++p)
        slice_bits(bits + p * words, g * slice.shape.channels, slice.shape.channels, slices + p * slice.words());
    }
    const SumSink sink(sums, map, g * conv.output().channels);
    conv.run(groups() > 1 ? slices : bits, call.images, operand, call.threads, sink);
  }
  const int height = ending_.pool.over(map).height;
  ThreadPool::instance().run(call.images * height, call.threads,
                             [&](int row) { finish(sums, call, row / height, row % height); });
}

void BinaryLayer::finish(const int32_t* sums, const Call& call, int image, int y) const {
  const Shape map = this->map(), pooled = ending_.pool.over(map);
  const MaxPool& pool = ending_.pool;
  for (int x = 0; x < pooled.width; ++x) {
    const int64_t position = int64_t{y} * pooled.width + x;
    const int64_t out = (image * pooled.positions() + position) * pooled.channels;
    for (int c = 0; c < pooled.channels; ++c) {
      int32_t n = std::numeric_limits<int32_t>::min();
      for (int row = 0; row < pool.size; ++row)
        for (int column = 0; column < pool.size; ++column) {
          const int64_t from =
              (int64_t{image} * map.height + y * pool.stride + row) * map.width + x * pool.stride + column;
          n = std::max(n, sums[from * map.channels + c]);
        }
      if (ending_.form == Ending::kSums) {
        static_cast<int32_t*>(call.out)[out + c] = n;
      } else if (ending_.form == Ending::kReals) {
        const float inner = std::max(static_cast<float>(n) * ending_.inner_scale[c] + ending_.inner_shift[c], ending_.inner_floor);
        static_cast<float*>(call.out)[out + c] = std::max(inner * ending_.scale[c] + ending_.shift[c], ending_.floor);
      } else {
        const int64_t feature = ending_.per_feature ? position * pooled.channels + c : c;
        const uint32_t bit = uint32_t{n >= ending_.thresholds[feature]} ^ ending_.flips[feature];
        uint32_t& word = static_cast<uint32_t*>(call.out)[call.out_map.at(image, y, x) + c / 32];
        word = c % 32 ? word | bit << (c % 32) : bit;
      }
    }
  }
}

}  // namespace xnorlit
