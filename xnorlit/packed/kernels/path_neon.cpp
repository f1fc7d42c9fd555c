// NEON: xor, count the ones of each byte, add; 4 output channels of 32 input bits in a register.
#include "path.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

namespace xnorlit {
namespace {

constexpr int kLanes = 4;
#define XNORLIT_CONV_BLOCKS 6
#define XNORLIT_OPAQUE(value) "+w"(value)
#include "float_tile.inc"
#include "byte_tile.inc"

constexpr int kChannels = 16;
constexpr int kRegisters = kChannels / 4;

void pack_block(const uint32_t* rows, int channels, int words, uint8_t* block) {
  auto* out = reinterpret_cast<uint32_t*>(block);
  for (int k = 0; k < words; ++k)
    for (int c = 0; c < kChannels; ++c) out[k * kChannels + c] = c < channels ? rows[int64_t{c} * words + k] : 0;
}

// Sums of bytes hold 31 words of at most 8 ones before they have to widen.
template <int Units>
void count_block(const BitTile& tile, int block) {
  uint32x4_t sums[Units][kRegisters];
  for (auto& unit : sums)
    for (auto& sum : unit) sum = vdupq_n_u32(0);
  const uint8_t* weights = tile.weights[block];
  for (int row = 0; row < tile.rows; ++row) {
    for (int start = 0; start < tile.run; start += 31) {
      const int end = start + 31 < tile.run ? start + 31 : tile.run;
      uint8x16_t bytes[Units][kRegisters];
      for (auto& unit : bytes)
        for (auto& sum : unit) sum = vdupq_n_u8(0);
      for (int k = start; k < end; ++k, weights += 4 * kChannels) {
        for (int u = 0; u < Units; ++u) {
          uint32_t word;
          std::memcpy(&word, tile.inputs[u] + row * tile.row_bytes + 4 * k, sizeof word);
          const uint8x16_t input = vreinterpretq_u8_u32(vdupq_n_u32(word));
          for (int r = 0; r < kRegisters; ++r)
            bytes[u][r] = vaddq_u8(bytes[u][r], vcntq_u8(veorq_u8(vld1q_u8(weights + 16 * r), input)));
        }
      }
      for (int u = 0; u < Units; ++u)
        for (int r = 0; r < kRegisters; ++r) sums[u][r] = vpadalq_u16(sums[u][r], vpaddlq_u8(bytes[u][r]));
    }
  }
  for (int u = 0; u < Units; ++u)
    for (int r = 0; r < kRegisters; ++r)
      vst1q_s32(tile.mismatches + u * kTileChannels + block * kChannels + 4 * r, vreinterpretq_s32_u32(sums[u][r]));
}

void count(const BitTile& tile) {
  for (int b = 0; b < tile.blocks; ++b) {
    switch (tile.units) {
      case 1: count_block<1>(tile, b); break;
      case 2: count_block<2>(tile, b); break;
      case 3: count_block<3>(tile, b); break;
      default: count_block<4>(tile, b); break;
    }
  }
}

void dots(int32_t* mismatches, int32_t base, const int32_t* padded, int channels) {
  const int32x4_t start = vdupq_n_s32(base);
  for (int c = 0; c < channels; c += 4) {
    int32x4_t wrong = vld1q_s32(mismatches + c);
    if (padded) wrong = vsubq_s32(wrong, vld1q_s32(padded + c));
    vst1q_s32(mismatches + c, vsubq_s32(start, vshlq_n_s32(wrong, 1)));
  }
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
  uint8x16_t sums[12], weight = vdupq_n_u8(0), input = vdupq_n_u8(0);
  for (auto& sum : sums) sum = vdupq_n_u8(0);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (auto& sum : sums) {
      asm volatile("" : XNORLIT_OPAQUE(weight), XNORLIT_OPAQUE(input));
      sum = vaddq_u8(sum, vcntq_u8(veorq_u8(weight, input)));
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) asm volatile("" : XNORLIT_OPAQUE(sum));
  return rounds * 12 * 128;
}

}  // namespace

const Path* neon_path() {
  static const Path path = {
      .name = "neon",
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
#else
namespace xnorlit {
const Path* neon_path() { return nullptr; }
}  // namespace xnorlit
#endif
