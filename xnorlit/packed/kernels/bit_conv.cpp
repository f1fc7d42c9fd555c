#include "bit_conv.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "pool.h"

namespace xnorlit {
namespace {

// The kernel indices [first, second) that fall inside the map, for each output index.
using Taps = std::pair<int, int>;

std::vector<Taps> taps_inside(int outputs, int kernel, int stride, int pad, int size) {
  std::vector<Taps> taps;
  for (int out = 0; out < outputs; ++out) {
    const int start = out * stride - pad;
    const int first = std::clamp(-start, 0, kernel);
    taps.emplace_back(first, std::clamp(size - start, first, kernel));
  }
  return taps;
}

// Equal taps get equal class numbers; `distinct` lists the classes.
std::vector<int> classes_of(const std::vector<Taps>& taps, std::vector<Taps>& distinct) {
  std::map<Taps, int> numbers;
  std::vector<int> classes;
  for (const Taps& tap : taps) {
    const auto [found, fresh] = numbers.emplace(tap, static_cast<int>(distinct.size()));
    if (fresh) distinct.push_back(tap);
    classes.push_back(found->second);
  }
  return classes;
}

// Isa::dots takes 16 channels at a time.
int whole_steps(int channels) { return (channels + 15) / 16 * 16; }

}  // namespace

BitConv::BitConv(const Isa& isa, const Shape& input, const Window& window, const Planes& planes, int outputs,
                 const uint32_t* rows)
    : isa_(isa),
      input_{input, window.pad_y, window.pad_x, planes.inputs},
      window_(window),
      output_(window.over(input, outputs)),
      flat_(output_.positions() == 1 && window.pad_y == 0 && window.pad_x == 0 && window.kernel_y == input.height &&
            window.kernel_x == input.width),
      blocks_((outputs + isa.lanes - 1) / isa.lanes),
      factors_(planes.factors),
      shift_((planes.divisor == 2) + !planes.signed_inputs) {
  const int length = window.kernel_y * window.kernel_x * input_.words();
  const int count = static_cast<int>(factors_.size());
  weights_.resize(static_cast<size_t>(count) * blocks_ * isa.block_bytes(length));
  for (int block = 0; block < count * blocks_; ++block) {
    const int first = block % blocks_ * isa.lanes;
    isa.pack_block(rows + (int64_t{block / blocks_} * outputs + first) * length, std::min(isa.lanes, outputs - first),
                   length, weights_.data() + static_cast<size_t>(block) * isa.block_bytes(length));
  }
  for (int input = 0; input < planes.inputs; ++input)
    for (int weight = 0; weight < count; ++weight) products_.push_back({input, weight, factors_[weight] << input});
  if (planes.signed_inputs) {
    note_padding(rows, outputs);
  } else {
    row_class_.assign(output_.height, 0);
    column_class_.assign(output_.width, 0);
    patterns_.push_back({0, 0});
    padded_.resize(whole_steps(outputs) + kTileChannels);
    for (int output = 0; output < outputs; ++output)
      padded_[output] = ones_of(rows, outputs, output).back() * ((1 << planes.inputs) - 1);
  }
}

void BitConv::note_padding(const uint32_t* rows, int outputs) {
  const Shape& in = input_.shape;
  std::vector<Taps> row_taps, column_taps;
  row_class_ =
      classes_of(taps_inside(output_.height, window_.kernel_y, window_.stride_y, window_.pad_y, in.height), row_taps);
  column_class_ =
      classes_of(taps_inside(output_.width, window_.kernel_x, window_.stride_x, window_.pad_x, in.width), column_taps);
  column_classes_ = static_cast<int>(column_taps.size());
  const int taps = window_.kernel_y * window_.kernel_x;
  const int all = std::accumulate(factors_.begin(), factors_.end(), 0);
  int64_t length = 0;
  for (const auto& [top, bottom] : row_taps) {
    for (const auto& [left, right] : column_taps) {
      const int inside = (bottom - top) * (right - left);
      patterns_.push_back({inside * in.channels * all, inside == taps ? -1 : length});
      if (inside == taps) continue;
      length += whole_steps(outputs);
    }
  }
  if (length == 0) return;
  padded_.resize(length + kTileChannels);
  const int width = window_.kernel_x + 1;
  for (int output = 0; output < outputs; ++output) {
    const std::vector<int32_t> ones = ones_of(rows, outputs, output);
    const Pattern* pattern = patterns_.data();
    for (const auto& [top, bottom] : row_taps) {
      for (const auto& [left, right] : column_taps) {
        const int32_t inside = (ones[bottom * width + right] - ones[top * width + right]) -
                               (ones[bottom * width + left] - ones[top * width + left]);
        if (pattern->padded >= 0) padded_[pattern->padded + output] = ones.back() - inside;
        ++pattern;
      }
    }
  }
}

// The ones of an output's weights, times the factors of their planes, over the taps [0, y) x [0, x) of the window at
// [y * (kernel_x + 1) + x]: those of any rectangle follow from its four corners.
std::vector<int32_t> BitConv::ones_of(const uint32_t* rows, int outputs, int output) const {
  const int words = input_.words(), width = window_.kernel_x + 1, taps = window_.kernel_y * window_.kernel_x;
  std::vector<int32_t> sums((window_.kernel_y + 1) * width);
  for (int tap = 0; tap < taps; ++tap) {
    int32_t ones = 0;
    for (size_t plane = 0; plane < factors_.size(); ++plane) {
      const uint32_t* weight = rows + ((static_cast<int64_t>(plane) * outputs + output) * taps + tap) * words;
      for (int w = 0; w < words; ++w) ones += factors_[plane] * __builtin_popcount(weight[w]);
    }
    int32_t* here = sums.data() + tap / window_.kernel_x * width + tap % window_.kernel_x;
    here[width + 1] = ones + here[1] + (here[width] - here[0]);
  }
  return sums;
}

BitConv::Layout BitConv::layout(int images) const {
  Layout layout = flat_ ? Layout{1, 1, images, 1} : Layout{images, output_.height, output_.width, 1};
  if (layout.columns > 1) layout.pair = isa_.pair;
  return layout;
}

void BitConv::prepare(const uint32_t* bits, int images, bool paired, uint8_t* operand, int threads) const {
  const int row_words = static_cast<int>(flat_ ? images * input_.image_words() : input_.row_words());
  const int rows = flat_ ? 1 : images * input_.planes * input_.rows();
  const int64_t step = flat_ ? input_.image_words() : int64_t{window_.stride_x} * input_.words();
  const int partner = paired ? static_cast<int>(step) : 0;
  ThreadPool::instance().run(rows, threads, [&](int row) {
    const int64_t at = int64_t{row} * row_words;
    isa_.prepare(bits + at, row_words, partner, operand + at * isa_.operand_bytes_per_word);
  });
}

void BitConv::compare(const std::vector<int32_t>& thresholds) {
  // base - 2 * (mismatches - padded) >= threshold, the mismatches being at least 0.
  const int outputs = output_.channels, width = whole_steps(outputs);
  most_.assign(patterns_.size() * width + kTileChannels, -1);
  for (size_t p = 0; p < patterns_.size(); ++p) {
    const Pattern& pattern = patterns_[p];
    for (int output = 0; output < outputs; ++output) {
      const int64_t padded = pattern.padded < 0 ? 0 : padded_[pattern.padded + output];
      const int64_t most = (pattern.base + 2 * padded - thresholds[output]) >> 1;
      most_[p * width + output] = static_cast<int32_t>(std::clamp<int64_t>(most, -1, INT32_MAX));
    }
  }
  padded_ = {};
}

template <typename Work>
void BitConv::split(const uint32_t* bits, int images, uint8_t* operand, int threads, const Work& work) const {
  const Layout layout = this->layout(images);
  if (isa_.operand_bytes_per_word) prepare(bits, images, layout.pair > 1, operand, threads);
  const uint8_t* input = isa_.operand_bytes_per_word ? operand : reinterpret_cast<const uint8_t*>(bits);
  const int groups = (blocks_ + isa_.blocks - 1) / isa_.blocks;
  // Few large chunks, for a group's weights stay in the first-level cache while a chunk lasts; several per thread, for
  // threads need not be equally fast. Chunk by chunk, so that threads write to positions far from each other's.
  const int64_t tiles = (layout.units() + isa_.units - 1) / isa_.units;
  const int64_t wanted = threads > 1 ? std::max<int64_t>(1, (16 * threads + groups - 1) / groups) : 1;
  const int64_t chunk = (tiles + wanted - 1) / wanted * isa_.units;
  const int chunks = static_cast<int>((layout.units() + chunk - 1) / chunk);
  ThreadPool::instance().run(groups * chunks, threads, [&](int task) {
    const int64_t first = task / groups * chunk;
    work(input, layout, task % groups, first, std::min(first + chunk, layout.units()));
  });
}

BitTile BitConv::tile_of(const Layout& layout, int group) const {
  const int length = window_.kernel_y * window_.kernel_x * input_.words();
  BitTile tile;
  tile.rows = flat_ ? 1 : window_.kernel_y;
  tile.row_bytes = flat_ ? 0 : input_.row_words() * bytes_per_word();
  tile.run = flat_ ? length : window_.kernel_x * input_.words();
  tile.blocks = std::min(isa_.blocks, blocks_ - group * isa_.blocks);
  tile.paired = layout.pair > 1;
  for (int b = 0; b < tile.blocks; ++b)
    tile.weights[b] = weights_.data() + static_cast<size_t>(group * isa_.blocks + b) * isa_.block_bytes(length);
  return tile;
}

int BitConv::channels_of(int group) const {
  return std::min(isa_.blocks * isa_.lanes, output_.channels - group * isa_.blocks * isa_.lanes);
}

BitConv::Row BitConv::row_at(const uint8_t* operand, const Layout& layout, int64_t number) const {
  if (flat_) return {0, 0, operand, patterns_.data()};
  const int image = static_cast<int>(number / layout.rows), y = static_cast<int>(number % layout.rows);
  const int64_t words = image * input_.image_words() + int64_t{y} * window_.stride_y * input_.row_words();
  return {image, y, operand + bytes_per_word() * words, patterns_.data() + row_class_[y] * column_classes_};
}

void BitConv::run_bits(const uint32_t* bits, int images, uint8_t* operand, int threads, uint32_t* out,
                       const BitMap& map, const uint32_t* flips) const {
  split(bits, images, operand, threads,
        [&](const uint8_t* input, const Layout& layout, int group, int64_t first, int64_t last) {
          bit_units(input, layout, group, first, last, out, map, flips);
        });
}

void BitConv::bit_units(const uint8_t* operand, const Layout& layout, int group, int64_t first, int64_t last,
                        uint32_t* out, const BitMap& map, const uint32_t* flips) const {
  alignas(64) int32_t mismatches[kMaxUnits * 2 * kTileChannels];
  uint32_t found[kMaxUnits * 2][kTileWords];
  uint32_t* to[kMaxUnits * 2];  // null for the second half of the last pair of an odd row
  const int32_t* most[kMaxUnits * 2];
  const int width = whole_steps(output_.channels), channel = group * isa_.blocks * isa_.lanes;
  const int channels = channels_of(group), words = words_of(channels);
  uint32_t flip[kTileWords] = {};
  if (flips) std::copy_n(flips + channel / 32, words, flip);
  const uint32_t last_mask = channels % 32 ? (1u << channels % 32) - 1 : ~0u;
  const int64_t in_step = step_bytes(), out_step = flat_ ? map.image_words() : map.words();
  const auto row_out = [&](const Row& row) { return out + channel / 32 + map.at(row.image, row.y, 0); };
  const auto row_most = [&](const Row& row) {
    return most_.data() + (row.patterns - patterns_.data()) * width + channel;
  };

  BitTile tile = tile_of(layout, group);
  tile.mismatches = mismatches;
  int64_t number = first / layout.row_units();
  int x = static_cast<int>(first % layout.row_units()) * layout.pair;
  Row row = row_at(operand, layout, number);
  uint32_t* to_row = row_out(row);
  const int32_t* most_row = row_most(row);
  for (int64_t unit = first; unit < last; unit += isa_.units) {
    tile.units = static_cast<int>(std::min<int64_t>(isa_.units, last - unit));
    int position = 0;
    for (int u = 0; u < tile.units; ++u) {
      tile.inputs[u] = row.input + x * in_step;
      for (int i = 0; i < layout.pair; ++i, ++x, ++position) {
        const bool inside = x < layout.columns;
        most[position] = most_row + (flat_ || !inside ? 0 : column_class_[x] * width);
        to[position] = inside ? to_row + x * out_step : nullptr;
      }
      if (x < layout.columns) continue;
      x = 0;
      row = row_at(operand, layout, ++number);
      to_row = row_out(row);
      most_row = row_most(row);
    }
    isa_.count_bits(tile, most, found);
    for (int p = 0; p < position; ++p) {
      if (!to[p]) continue;
      if (words == 1) {
        to[p][0] = (found[p][0] & last_mask) ^ flip[0];
      } else {
        to[p][0] = found[p][0] ^ flip[0];
        to[p][1] = (found[p][1] & last_mask) ^ flip[1];
      }
    }
  }
}

void BitConv::run(const uint32_t* bits, int images, uint8_t* operand, int threads, const Sink& sink) const {
  split(bits, images, operand, threads,
        [&](const uint8_t* input, const Layout& layout, int group, int64_t first, int64_t last) {
          sum_units(input, layout, group, first, last, sink);
        });
}

void BitConv::sum_units(const uint8_t* operand, const Layout& layout, int group, int64_t first, int64_t last,
                        const Sink& sink) const {
  const int channel = group * isa_.blocks * isa_.lanes, channels = channels_of(group), sums = whole_steps(channels);
  // A tail takes whole words of channels: those that are not counted are 0.
  alignas(64) int32_t mismatches[kMaxUnits * 2 * kTileChannels] = {}, weighted[kMaxUnits * 2 * kTileChannels];
  const bool one_product = products_.size() == 1 && products_[0].factor == 1;
  int32_t* const totals = one_product ? mismatches : weighted;
  BitTile tile = tile_of(layout, group);
  tile.mismatches = mismatches;
  const size_t plane_bytes =
      static_cast<size_t>(blocks_) * isa_.block_bytes(window_.kernel_y * window_.kernel_x * input_.words());
  const uint8_t* weights[kMaxBlocks];
  std::copy_n(tile.weights, tile.blocks, weights);
  const auto count_planes = [&](const uint8_t* const* inputs) {
    std::fill(weighted, weighted + tile.units * layout.pair * kTileChannels, 0);
    for (const Product& product : products_) {
      for (int u = 0; u < tile.units; ++u)
        tile.inputs[u] = inputs[u] + product.input * input_.plane_words() * bytes_per_word();
      for (int b = 0; b < tile.blocks; ++b) tile.weights[b] = weights[b] + product.weight * plane_bytes;
      isa_.count(tile);
      for (int position = 0; position < tile.units * layout.pair; ++position)
        isa_.add_times(weighted + position * kTileChannels, mismatches + position * kTileChannels, product.factor,
                       sums);
    }
  };

  SumStart starts[kMaxUnits * 2];
  struct Place {
    Row row;
    int x;
  } places[kMaxUnits];
  int64_t number = first / layout.row_units();
  Place next = {row_at(operand, layout, number), static_cast<int>(first % layout.row_units()) * layout.pair};
  for (int64_t unit = first; unit < last; unit += isa_.units) {
    tile.units = static_cast<int>(std::min<int64_t>(isa_.units, last - unit));
    for (int u = 0; u < tile.units; ++u) {
      places[u] = next;
      tile.inputs[u] = next.row.input + next.x * step_bytes();
      next.x += layout.pair;
      if (next.x >= layout.columns) next = {row_at(operand, layout, ++number), 0};
    }
    if (one_product) {
      isa_.count(tile);
    } else {
      const uint8_t* inputs[kMaxUnits];
      std::copy_n(tile.inputs, tile.units, inputs);
      count_planes(inputs);
    }
    int begun = 0;  // where the positions begin that the sink has not taken yet
    for (int position = 0; position < tile.units * layout.pair; ++position) {
      const Row& row = places[position / layout.pair].row;
      const int x = places[position / layout.pair].x + position % layout.pair;
      if (x >= layout.columns) {  // the second half of the last pair of an odd row
        begun = position + 1;
        continue;
      }
      int32_t* dots = totals + position * kTileChannels;
      const Pattern& pattern = flat_ ? patterns_[0] : row.patterns[column_class_[x]];
      starts[position] = {pattern.base, pattern.padded < 0 ? nullptr : padded_.data() + pattern.padded + channel};
      if (sink.together) {
        const bool row_ends = flat_ || x + 1 == layout.columns || position + 1 == tile.units * layout.pair;
        if (!row_ends) continue;
        const int before = position - begun;
        const Sink::Counted counted = {totals + begun * kTileChannels, starts + begun, shift_};
        if (flat_) {
          sink.take_row(x, 0, 0, 1, channel, counted, channels);
        } else {
          sink.take_row(row.image, row.y, x - before, before + 1, channel, counted, channels);
        }
        begun = position + 1;
        continue;
      }
      isa_.dots(dots, starts[position].base, starts[position].padded, sums);
      if (shift_)
        for (int c = 0; c < sums; ++c) dots[c] >>= shift_;
      if (flat_) {
        sink.take(x, 0, 0, channel, dots, channels);
      } else {
        sink.take(row.image, row.y, x, channel, dots, channels);
      }
    }
  }
}

}  // namespace xnorlit
