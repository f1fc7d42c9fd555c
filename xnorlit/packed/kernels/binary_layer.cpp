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

// Bits of one threshold, flipped or, before a pool, not yet.
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

// A tail, run where the sums arise.
class TailSink final : public Sink {
 public:
  TailSink(const Isa& isa, const std::vector<TailOp>& ops, const Shape& map)
      : Sink(true), isa_(isa), ops_(ops), map_(map) {}

  void take(int, int, int, int, const int32_t*, int) const override {}
  void take_row(int image, int y, int x, int positions, int channel, const Counted& of, int count) const override {
    const int first = first_channel + channel;
    const TailTile tile = {nullptr, of.counts, of.starts, of.shift, image, y, x, positions, first, count, map_};
    isa_.tail(ops_.data(), static_cast<int>(ops_.size()), tile);
  }

  int first_channel = 0;

 private:
  const Isa& isa_;
  const std::vector<TailOp>& ops_;
  Shape map_;
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

BinaryLayer::BinaryLayer(const Isa& isa, const BinarySettings& settings)
    : isa_(isa),
      bits_{settings.input, settings.window.pad_y, settings.window.pad_x, settings.planes.inputs},
      window_(settings.window),
      scaled_(settings.scaled),
      ones_(settings.ones),
      sums_(sums_of(settings)),
      ending_(isa, settings.ending, sums_) {
  const Shape& input = settings.input;
  Shape group = {input.height, input.width, input.channels / settings.groups};
  Window window = window_;
  if (ones_) {  // what the border holds is part of the map
    group.height += 2 * window.pad_y;
    group.width += 2 * window.pad_x;
    window.pad_y = window.pad_x = 0;
  }
  const int64_t outputs = settings.outputs / settings.groups,
                planes = static_cast<int64_t>(settings.planes.factors.size());
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
        std::make_unique<BitConv>(isa, group, window, settings.planes, static_cast<int>(outputs), rows.data()));
  }
  if (threshold_only() && convs_[0]->comparable()) convs_[0]->compare(ending_.take_thresholds());
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
  if (direct() && threshold_only()) {
    run_bits(bits, call, scratch, static_cast<uint32_t*>(call.out), call.out_map, true);
  } else if (direct()) {
    EndingSink sink(ending_, call);
    run_groups(bits, call, scratch, sink, sink.first_channel);
  } else if (threshold_only()) {
    const BitMap map = {sums_};
    auto* unpooled = take<uint32_t>(scratch, call.images * map.image_words());
    run_bits(bits, call, scratch, unpooled, map, false);
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

// Bits of one threshold, flipped or, before a pool, not yet: the ending of most layers, by a shorter way.
void BinaryLayer::run_bits(const uint32_t* bits, const Call& call, uint8_t*& scratch, uint32_t* out, const BitMap& map,
                           bool flipped) const {
  if (convs_[0]->compares()) {
    auto* operand = take<uint8_t>(scratch, convs_[0]->operand_bytes(call.images));
    convs_[0]->run_bits(bits, call.images, operand, call.threads, out, map, flipped ? ending_.flips() : nullptr);
  } else {
    int unused = 0;
    run_groups(bits, call, scratch, BitSink(ending_, out, map, flipped), unused);
  }
}

bool BinaryLayer::takes(const Tail& tail) const {
  const Shape& map = tail.map();
  const bool words = groups() == 1 || !tail.has_bits() || sums_.channels / groups() % 32 == 0;
  return !scaled_ && !convs_[0]->compares() && ending_.pool().none() && words && map.height == sums_.height &&
         map.width == sums_.width && map.channels == sums_.channels && (!tail.has_window() || (bits_.planes == 1));
}

int64_t BinaryLayer::tail_scratch_bytes(const Tail& tail, int images) const {
  int64_t bytes = aligned(convs_[0]->operand_bytes(images));
  if (groups() > 1) bytes += aligned(images * convs_[0]->input().image_words() * 4);
  if (tail.has_window())
    bytes += aligned(images * bits_.rows() * (bits_.row_words() / bits_.words()) * 4) +
             aligned(images * sums_.positions() * 4);
  return bytes;
}

void BinaryLayer::run_tail(const Call& call, const Tail& tail, uint8_t* const* values, std::vector<TailOp>& ops) const {
  uint8_t* scratch = call.scratch;
  int32_t *counts = nullptr, *windows = nullptr;
  if (tail.has_window()) {
    counts = take<int32_t>(scratch, call.images * bits_.rows() * (bits_.row_words() / bits_.words()));
    windows = take<int32_t>(scratch, call.images * sums_.positions());
  }
  tail.ops(values, windows, ops);
  TailSink sink(isa_, ops, sums_);
  run_groups(static_cast<const uint32_t*>(call.in), call, scratch, sink, sink.first_channel, [&](const uint32_t* bits) {
    if (windows) add_windows(bits, call, counts, windows);
  });
}

// The sum of the signs in each window, of a group's bits.
void BinaryLayer::add_windows(const uint32_t* bits, const Call& call, int32_t* counts, int32_t* sums) const {
  const BitMap& map = convs_[0]->input();  // its border is part of it or around it, at the same places
  const int rows = map.rows(), words = map.words(), columns = static_cast<int>(map.row_words() / words);
  ThreadPool& pool = ThreadPool::instance();
  pool.run(call.images * rows, call.threads, [&](int row) {
    const int y = row % rows;
    for (int x = 0; x < columns; ++x) {
      const int64_t at = int64_t{row} * columns + x;
      int32_t ones = 0;
      for (int w = 0; w < words; ++w) ones += __builtin_popcount(bits[at * words + w]);
      const bool inside = y >= map.pad_y && y < rows - map.pad_y && x >= map.pad_x && x < columns - map.pad_x;
      counts[at] = inside ? 2 * ones - map.shape.channels : 0;
    }
  });
  pool.run(call.images * sums_.height, call.threads, [&](int row) {
    const int64_t image = row / sums_.height;
    const int y = row % sums_.height;
    for (int x = 0; x < sums_.width; ++x) {
      int32_t sum = 0;
      for (int i = 0; i < window_.kernel_y; ++i)
        for (int j = 0; j < window_.kernel_x; ++j)
          sum +=
              counts[(image * rows + int64_t{y} * window_.stride_y + i) * columns + int64_t{x} * window_.stride_x + j];
      sums[int64_t{row} * sums_.width + x] = sum;
    }
  });
}

template <typename Begin>
void BinaryLayer::run_groups(const uint32_t* bits, const Call& call, uint8_t*& scratch, const Sink& sink,
                             int& first_channel, const Begin& begin) const {
  auto* operand = take<uint8_t>(scratch, convs_[0]->operand_bytes(call.images));
  const BitMap& slice = convs_[0]->input();
  uint32_t* slices = groups() > 1 ? take<uint32_t>(scratch, call.images * slice.image_words()) : nullptr;
  const int64_t positions = call.images * slice.image_words() / slice.words();  // of every plane, border included
  const int words = bits_.words(), channels = slice.shape.channels;
  for (int g = 0; g < groups(); ++g) {
    for (int64_t p = 0; slices && p < positions; ++p)
      slice_bits(bits + p * words, g * channels, channels, slices + p * slice.words());
    first_channel = g * convs_[g]->output().channels;
    begin(slices ? slices : bits);
    convs_[g]->run(slices ? slices : bits, call.images, operand, call.threads, sink);
  }
}

void BinaryLayer::run_groups(const uint32_t* bits, const Call& call, uint8_t*& scratch, const Sink& sink,
                             int& first_channel) const {
  run_groups(bits, call, scratch, sink, first_channel, [](const uint32_t*) {});
}

// The signs of the reals that the layer reads, with the border.
const uint32_t* BinaryLayer::pack(const Call& call, uint8_t*& scratch) const {
  const auto* in = static_cast<const float*>(call.in);
  auto* bits = take<uint32_t>(scratch, call.images * bits_.image_words());
  std::memset(bits, 0, static_cast<size_t>(call.images * bits_.image_words()) * 4);
  const Shape& map = bits_.shape;
  ThreadPool::instance().run(call.images * map.height, call.threads, [&](int row) {
    for (int x = 0; x < map.width; ++x)
      isa_.pack_signs(in + (int64_t{row} * map.width + x) * map.channels, map.channels,
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
      means[position] = isa_.magnitudes(in + position * map.channels, map.channels) / static_cast<float>(map.channels);
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
