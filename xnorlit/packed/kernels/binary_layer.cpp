#include "binary_layer.h"

#include <algorithm>
#include <cstring>

#include "bit_pool.h"
#include "pool.h"

namespace xnorlit {
namespace {

// What leaves, made where the sums arise.
class EndingSink final : public Sink {
 public:
  EndingSink(const Ending& ending, const Call& call) : ending_(ending), call_(call) {}

  void take(int image, int y, int x, int channel, const int32_t* dots, int count) const override {
    ending_.put(dots, first_channel + channel, count, call_, image, y, x);
  }

  int first_channel = 0;

 private:
  const Ending& ending_;
  const Call& call_;
};

// Bits of one threshold, flipped or, before a pool, not yet: the ending of most layers, by a shorter way.
class BitSink final : public Sink {
 public:
  BitSink(const Ending& ending, uint32_t* bits, const BitMap& map, bool flipped)
      : ending_(ending), bits_(bits), map_(map), flipped_(flipped) {}

  void take(int image, int y, int x, int channel, const int32_t* dots, int count) const override {
    uint32_t* to = bits_ + map_.at(image, y, x) + channel / 32;
    for (int w = 0; w < words_of(count); ++w) {
      const uint32_t bits = ending_.one_bits(dots + 32 * w, channel + 32 * w, count - 32 * w);
      to[w] = flipped_ ? bits ^ ending_.flips()[channel / 32 + w] : bits;
    }
  }

 private:
  const Ending& ending_;
  uint32_t* bits_;
  BitMap map_;
  bool flipped_;
};

class SumSink final : public Sink {
 public:
  SumSink(int32_t* sums, const Shape& map) : sums_(sums), map_(map) {}

  void take(int image, int y, int x, int channel, const int32_t* dots, int count) const override {
    const int64_t position = (int64_t{image} * map_.height + y) * map_.width + x;
    std::memcpy(sums_ + position * map_.channels + first_channel + channel, dots, sizeof(int32_t) * count);
  }

  int first_channel = 0;

 private:
  int32_t* sums_;
  Shape map_;
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

template <typename Number>
Number* take(uint8_t*& scratch, int64_t count) {
  auto* taken = reinterpret_cast<Number*>(scratch);
  scratch += aligned(count * static_cast<int64_t>(sizeof(Number)));
  return taken;
}

Shape sums_of(const BinarySettings& settings) { return settings.window.over(settings.input, settings.outputs); }

}  // namespace

BinaryLayer::BinaryLayer(const Path& path, const BinarySettings& settings)
    : path_(path),
      bits_{settings.input, settings.window.pad_y, settings.window.pad_x, settings.planes.inputs},
      window_(settings.window),
      scaled_(settings.scaled),
      sums_(sums_of(settings)),
      ending_(path, settings.ending, sums_) {
  const Shape& input = settings.input;
  const Shape group = {input.height, input.width, input.channels / settings.groups};
  const int64_t outputs = settings.outputs / settings.groups, planes = static_cast<int64_t>(settings.planes.factors.size());
  const int64_t taps = int64_t{window_.kernel_y} * window_.kernel_x;
  const int bytes = (group.channels + 7) / 8, words = words_of(group.channels);
  const uint32_t last = group.channels % 32 ? (1u << group.channels % 32) - 1 : ~0u;
  std::vector<uint32_t> rows(planes * outputs * taps * words);
  for (int g = 0; g < settings.groups; ++g) {
    std::fill(rows.begin(), rows.end(), 0);
    for (int64_t row = 0; row < planes * outputs * taps; ++row) {
      const int64_t plane = row / (outputs * taps), rest = row % (outputs * taps);
      const uint8_t* from = settings.weights + ((plane * settings.groups + g) * outputs * taps + rest) * bytes;
      for (int b = 0; b < bytes; ++b) rows[row * words + b / 4] |= uint32_t{from[b]} << (8 * (b % 4));
      rows[row * words + words - 1] &= last;
    }
    convs_.push_back(
        std::make_unique<BitConv>(path, group, window_, settings.planes, static_cast<int>(outputs), rows.data()));
  }
}

Value BinaryLayer::input() const {
  return scaled_ ? Value{Value::kReals, bits_.shape} : Value{Value::kBits, bits_.shape, bits_.planes};
}

BitMap BinaryLayer::input_map() const { return scaled_ ? BitMap{bits_.shape} : bits_; }

int64_t BinaryLayer::resident_bytes() const {
  int64_t bytes = ending_.bytes();
  for (const auto& conv : convs_) bytes += conv->weight_bytes();
  return bytes;
}

int64_t BinaryLayer::scratch_bytes(int images) const {
  int64_t bytes = aligned(convs_[0]->operand_bytes(images));
  if (groups() > 1) bytes += aligned(images * convs_[0]->input().image_words() * 4);
  if (scaled_) bytes += aligned(images * bits_.image_words() * 4) + aligned(images * bits_.shape.positions() * 4);
  if (direct()) return bytes;
  return bytes + aligned(images * (threshold_only() ? BitMap{sums_}.image_words() : sums_.values()) * 4);
}

void BinaryLayer::run(const Call& call) const {
  uint8_t* scratch = call.scratch;
  const uint32_t* bits = scaled_ ? pack(call, scratch) : static_cast<const uint32_t*>(call.in);
  int unused = 0;
  if (direct() && threshold_only()) {
    run_groups(bits, call, scratch, BitSink(ending_, static_cast<uint32_t*>(call.out), call.out_map, true), unused);
  } else if (direct()) {
    EndingSink sink(ending_, call);
    run_groups(bits, call, scratch, sink, sink.first_channel);
  } else if (threshold_only()) {
    const BitMap map = {sums_};
    auto* unpooled = take<uint32_t>(scratch, call.images * map.image_words());
    run_groups(bits, call, scratch, BitSink(ending_, unpooled, map, false), unused);
    for (int image = 0; image < call.images; ++image)
      pool_bits(unpooled + image * map.image_words(), map, ending_.pool(), ending_.flips(),
                static_cast<uint32_t*>(call.out) + image * call.out_map.image_words(), call.out_map);
  } else {
    auto* sums = take<int32_t>(scratch, call.images * sums_.values());
    SumSink sink(sums, sums_);
    run_groups(bits, call, scratch, sink, sink.first_channel);
    if (scaled_) {
      ending_.finish(scale(sums, call, scratch), call, 0, call.images);
    } else {
      ending_.finish(sums, call, 0, call.images);
    }
  }
}

void BinaryLayer::run_groups(const uint32_t* bits, const Call& call, uint8_t*& scratch, const Sink& sink,
                             int& first_channel) const {
  auto* operand = take<uint8_t>(scratch, convs_[0]->operand_bytes(call.images));
  const BitMap& slice = convs_[0]->input();
  uint32_t* slices = groups() > 1 ? take<uint32_t>(scratch, call.images * slice.image_words()) : nullptr;
  const int64_t positions = call.images * slice.image_words() / slice.words();  // of every plane, border included
  const int words = bits_.words(), channels = slice.shape.channels;
  for (int g = 0; g < groups(); ++g) {
    for (int64_t p = 0; slices && p < positions; ++p)
      slice_bits(bits + p * words, g * channels, channels, slices + p * slice.words());
    first_channel = g * convs_[g]->output().channels;
    convs_[g]->run(slices ? slices : bits, call.images, operand, call.threads, sink);
  }
}

// The signs of the reals that the layer reads, with the border.
const uint32_t* BinaryLayer::pack(const Call& call, uint8_t*& scratch) const {
  const auto* in = static_cast<const float*>(call.in);
  auto* bits = take<uint32_t>(scratch, call.images * bits_.image_words());
  std::memset(bits, 0, static_cast<size_t>(call.images * bits_.image_words()) * 4);
  const Shape& map = bits_.shape;
  ThreadPool::instance().run(call.images * map.height, call.threads, [&](int row) {
    for (int x = 0; x < map.width; ++x)
      path_.pack_signs(in + (int64_t{row} * map.width + x) * map.channels, map.channels,
                       bits + bits_.at(row / map.height, row % map.height, x));
  });
  return bits;
}

// The sums times K, in place.
const float* BinaryLayer::scale(int32_t* sums, const Call& call, uint8_t*& scratch) const {
  const auto* in = static_cast<const float*>(call.in);
  const Shape& map = bits_.shape;
  auto* means = take<float>(scratch, call.images * map.positions());
  ThreadPool& pool = ThreadPool::instance();
  pool.run(call.images * map.height, call.threads, [&](int row) {
    for (int x = 0; x < map.width; ++x) {
      const int64_t position = int64_t{row} * map.width + x;
      means[position] = path_.magnitudes(in + position * map.channels, map.channels) / static_cast<float>(map.channels);
    }
  });
  const auto taps = static_cast<float>(window_.kernel_y * window_.kernel_x);
  pool.run(call.images * sums_.height, call.threads, [&](int row) {
    const float* image = means + row / sums_.height * map.positions();
    const int top = row % sums_.height * window_.stride_y - window_.pad_y;
    for (int x = 0; x < sums_.width; ++x) {
      const int left = x * window_.stride_x - window_.pad_x;
      float sum = 0;
      for (int y = std::max(top, 0); y < std::min(top + window_.kernel_y, map.height); ++y)
        for (int from = std::max(left, 0); from < std::min(left + window_.kernel_x, map.width); ++from)
          sum += image[int64_t{y} * map.width + from];
      const float scale = sum / taps;
      int32_t* here = sums + (int64_t{row} * sums_.width + x) * sums_.channels;
      for (int c = 0; c < sums_.channels; ++c) {
        const float scaled = static_cast<float>(here[c]) * scale;
        std::memcpy(here + c, &scaled, sizeof scaled);
      }
    }
  });
  return reinterpret_cast<const float*>(sums);
}

}  // namespace xnorlit
