// Compares the kernels of one instruction set with the portable one, bit for bit, on what graphs are made of: sums in
// double, and tails. For the tests that build the kernels otherwise than for Python.
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "isa.h"

using namespace xnorlit;

std::mt19937 random_bits(0);

float number() { return static_cast<float>(static_cast<int>(random_bits() % 20001) - 10000) / 4096.0f; }
int up_to(int most) { return static_cast<int>(random_bits() % most) + 1; }

template <typename Number>
std::vector<Number> numbers(int count) {
  std::vector<Number> found(count);
  for (Number& each : found) each = number();
  return found;
}

bool same(const std::vector<float>& one, const std::vector<float>& other) {
  return std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0;
}

// The first lanes of one block of weights, of as many lanes as an instruction set has.
std::vector<float> convolved(const Isa& isa, const std::vector<double>& input, const std::vector<double>& weights,
                             int rows, int run, int row_doubles, int outputs) {
  const int blocks = (outputs + isa.float_lanes - 1) / isa.float_lanes;
  std::vector<double> packed(static_cast<size_t>(blocks) * rows * run * isa.float_lanes);
  for (int o = 0; o < outputs; ++o)
    for (int k = 0; k < rows * run; ++k)
      packed[(o / isa.float_lanes * rows * run + k) * isa.float_lanes + o % isa.float_lanes] =
          weights[o * rows * run + k];
  std::vector<float> found(static_cast<size_t>(kMaxUnits) * outputs);
  for (int block = 0; block < blocks; block += isa.double_blocks) {
    float sums[kMaxUnits * kFloatChannels];
    DoubleTile tile = {};
    tile.units = kMaxUnits;
    for (int u = 0; u < kMaxUnits; ++u) tile.inputs[u] = input.data() + u;
    tile.rows = rows;
    tile.row_doubles = row_doubles;
    tile.run = run;
    tile.blocks = std::min(isa.double_blocks, blocks - block);
    for (int b = 0; b < tile.blocks; ++b)
      tile.weights[b] = packed.data() + static_cast<size_t>(block + b) * rows * run * isa.float_lanes;
    tile.sums = sums;
    isa.convolve_double(tile);
    const int first = block * isa.float_lanes;
    for (int u = 0; u < kMaxUnits; ++u)
      for (int c = first; c < std::min(outputs, first + tile.blocks * isa.float_lanes); ++c)
        found[u * outputs + c] = sums[u * kFloatChannels + c - first];
  }
  return found;
}

struct Made {
  std::vector<float> reals;
  std::vector<uint32_t> bits;
};

// Of reals of the whole map or, unless there are none, of counts.
Made tailed(const Isa& isa, const std::vector<TailOp>& given, const std::vector<float>& values,
            const std::vector<int32_t>& counts, const std::vector<SumStart>& starts, int shift, const Shape& map) {
  Made made = {std::vector<float>(map.values()), std::vector<uint32_t>(map.positions() * words_of(map.channels))};
  std::vector<TailOp> ops = given;
  for (TailOp& op : ops) {
    if (op.kind == TailOp::kStore) op.data = made.reals.data();
    if (op.kind == TailOp::kSign) op.data = made.bits.data();
  }
  TailTile tile = {values.data(), nullptr, nullptr, 0, 0, 0, 0, map.width, 0, map.channels, map};
  if (!counts.empty()) tile = {nullptr, counts.data(), starts.data(), shift, 0, 0, 0, map.width, 0, map.channels, map};
  isa.tail(ops.data(), static_cast<int>(ops.size()), tile);
  return made;
}

int main(int, char** arguments) {
  const Isa& isa = isa_named(arguments[1]);
  const Isa& other = *portable_isa();
  for (int round = 0; round < 200; ++round) {
    const int rows = up_to(4), run = up_to(40), row_doubles = run + kMaxUnits, outputs = up_to(100);
    const auto input = numbers<double>(rows * row_doubles), weights = numbers<double>(outputs * rows * run);
    const auto one = convolved(isa, input, weights, rows, run, row_doubles, outputs);
    if (!same(one, convolved(other, input, weights, rows, run, row_doubles, outputs))) return 2;

    const int taps = up_to(3), channels = up_to(70);
    const auto wide = numbers<double>(rows * taps * channels), deep = numbers<double>(rows * taps * channels);
    std::vector<float> depth(channels), depth_other(channels);
    isa.convolve_depthwise(wide.data(), taps * channels, rows, taps, deep.data(), channels, channels, depth.data());
    other.convolve_depthwise(wide.data(), taps * channels, rows, taps, deep.data(), channels, channels,
                             depth_other.data());
    if (!same(depth, depth_other)) return 3;

    const int positions = up_to(8), count = up_to(kTileChannels);
    const Shape map = {1, positions, count};
    const auto a = numbers<float>(kTileChannels), b = numbers<float>(kTileChannels), c = numbers<float>(kTileChannels);
    auto added = numbers<float>(static_cast<int>(map.values()));
    const std::vector<uint32_t> flips = {static_cast<uint32_t>(random_bits()), static_cast<uint32_t>(random_bits())};
    std::vector<int32_t> windows(positions, 7), counts, padded(kTileChannels);
    std::vector<SumStart> starts;
    const std::vector<int> ways(positions, 0);
    std::vector<TailOp> ops;
    const auto add = [&](TailOp::Kind kind) -> TailOp& {
      ops.emplace_back();
      ops.back().kind = kind;
      ops.back().a = a.data();
      ops.back().b = b.data();
      return ops.back();
    };
    if (round % 2) {
      counts.resize(positions * kTileChannels);
      for (int32_t& each : counts) each = up_to(100);
      for (int32_t& each : padded) each = up_to(9);
      for (int p = 0; p < positions; ++p) starts.push_back({up_to(100), p % 3 ? padded.data() : nullptr});
      TailOp& op = add(TailOp::kWindow);
      op.c = c.data();
      op.data = windows.data();
      op.row_ways = op.column_ways = ways.data();
    }
    add(TailOp::kAffine);
    add(TailOp::kAdd).data = added.data();
    add(TailOp::kShift);
    add(TailOp::kSlopes).one_a = round % 3 == 0;
    TailOp& sign = add(TailOp::kSign);
    sign.flips = flips.data();
    sign.map = {map};
    const float low = -1, high = 1;
    if (round % 5 == 0) {
      TailOp& clip = add(TailOp::kClip);
      clip.a = &low;
      clip.b = &high;
      clip.one_a = clip.one_b = true;
    }
    add(TailOp::kStore);
    const auto values = numbers<float>(static_cast<int>(map.values()));
    const int shift = round / 2 % 3;
    const Made mine = tailed(isa, ops, values, counts, starts, shift, map);
    const Made theirs = tailed(other, ops, values, counts, starts, shift, map);
    if (!same(mine.reals, theirs.reals) || mine.bits != theirs.bits) return 4;
  }
  std::printf("equal\n");
  return 0;
}
