// The path for any processor: plain C++, which the compiler may vectorise for the architecture's baseline.
#include <cstring>

#include "path.h"

namespace xnorlit {
namespace {

constexpr int kLanes = 4;
#define XNORLIT_CONV_BLOCKS 3
#if defined(__x86_64__)
#define XNORLIT_OPAQUE(value) "+x"(value)
#elif defined(__aarch64__)
#define XNORLIT_OPAQUE(value) "+w"(value)
#else
#define XNORLIT_OPAQUE(value) "+m"(value)
#endif
#include "float_tile.inc"
#include "byte_tile.inc"

constexpr int kChannels = 16;
typedef uint32_t Words __attribute__((vector_size(16)));

// Ones in each 32-bit lane, by sums of ever wider fields; the last multiplication adds the four bytes.
inline Words ones(Words x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  x += x >> 8;
  return (x + (x >> 16)) & 0x3fu;
}

void pack_block(const uint32_t* rows, int channels, int words, uint8_t* block) {
  auto* out = reinterpret_cast<uint32_t*>(block);
  for (int k = 0; k < words; ++k)
    for (int c = 0; c < kChannels; ++c) out[k * kChannels + c] = c < channels ? rows[int64_t{c} * words + k] : 0;
}

void count(const BitTile& tile) {
  for (int u = 0; u < tile.units; ++u) {
    for (int b = 0; b < tile.blocks; ++b) {
      Words sums[4] = {};
      const uint8_t* weights = tile.weights[b];
      for (int row = 0; row < tile.rows; ++row) {
        const auto* input = reinterpret_cast<const uint32_t*>(tile.inputs[u] + row * tile.row_bytes);
        for (int k = 0; k < tile.run; ++k, weights += 4 * kChannels) {
          for (int v = 0; v < 4; ++v) {
            Words weight;
            std::memcpy(&weight, weights + 16 * v, sizeof weight);
            sums[v] += ones(weight ^ input[k]);
          }
        }
      }
      std::memcpy(tile.mismatches + u * kTileChannels + b * kChannels, sums, sizeof sums);
    }
  }
}

void dots(int32_t* mismatches, int32_t base, const int32_t* padded, int channels) {
  for (int c = 0; c < channels; ++c) mismatches[c] = base - 2 * (mismatches[c] - (padded ? padded[c] : 0));
}

template <typename Number>
uint32_t compare(const Number* values, const Number* thresholds) {
  uint32_t bits = 0;
  for (int c = 0; c < 32; ++c) bits |= uint32_t{values[c] >= thresholds[c]} << c;
  return bits;
}

void pack_signs(const float* values, int count, uint32_t* words) {
  for (int start = 0; start < count; start += 32) {
    uint32_t bits = 0;
    const int here = count - start < 32 ? count - start : 32;
    for (int c = 0; c < here; ++c) bits |= uint32_t{values[start + c] >= 0} << c;
    words[start / 32] = bits;
  }
}

int64_t spin_bits(int64_t rounds) {
  Words sums[4] = {}, weight = {}, input = {};
  for (int64_t round = 0; round < rounds; ++round) {
    asm volatile("" : XNORLIT_OPAQUE(weight), XNORLIT_OPAQUE(input));
#pragma GCC unroll 16
    for (auto& sum : sums) {
      asm volatile("" : XNORLIT_OPAQUE(weight));
      sum += ones(weight ^ input);
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) asm volatile("" : XNORLIT_OPAQUE(sum));
  return rounds * 4 * 128;
}

}  // namespace

const Path* portable_path() {
  static const Path path = {
      .name = "portable",
      .lanes = kChannels,
      .blocks = 4,
      .units = 4,
      .pair = 1,
      .operand_bytes_per_word = 0,
      .prepare = nullptr,
      .pack_block = pack_block,
      .count = count,
      .dots = dots,
      .at_least = compare,
      .at_least_float = compare,
      .pack_signs = pack_signs,
      .float_lanes = kLanes,
      .float_blocks = XNORLIT_CONV_BLOCKS,
      .convolve = convolve,
      .multiply = multiply,
      .byte_width = 2,
      .multiply_bytes = multiply_bytes,
      .spin_floats = spin_floats,
      .spin_bits = spin_bits,
  };
  return &path;
}

}  // namespace xnorlit
