// NEON: xor, count the ones of each byte, add; 4 output channels of 32 input bits in a register.
#include "isa.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>
#include <utility>

namespace xnorlit {
namespace {

constexpr const char* kName = "neon";
constexpr int kLanes = 4, kFloatBlocks = 6, kSignBlocks = 3, kDoubleBlocks = 2;
constexpr int kChannels = 16, kBitBlocks = 4, kUnits = 4, kByteWidth = 2;
#define XNORLIT_OPAQUE(value) "+w"(value)
#define XNORLIT_FMA(a, b, c) reinterpret_cast<Vector>(vfmaq_f32(c, a, b))
#define XNORLIT_SCALAR_FMA(a, b, c) __builtin_fmaf(a, b, c)
#define XNORLIT_DOUBLE_FMA(a, b, c) reinterpret_cast<DoubleVector>(vfmaq_f64(c, a, b))
#include "dispatch.inc"
#include "real_tile.inc"
#include "byte_tile.inc"
#include "elementwise.inc"
#include "words.inc"
#include "compare.inc"

constexpr int kRegisters = kChannels / 4;

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
  for (int b = 0; b < tile.blocks; ++b)
    with_constant<kMaxUnits>(tile.units, [&]<int Units>() { count_block<Units>(tile, b); });
}

void dots(int32_t* mismatches, int32_t base, const int32_t* padded, int channels) {
  const int32x4_t start = vdupq_n_s32(base);
  for (int c = 0; c < channels; c += 4) {
    int32x4_t wrong = vld1q_s32(mismatches + c);
    if (padded) wrong = vsubq_s32(wrong, vld1q_s32(padded + c));
    vst1q_s32(mismatches + c, vsubq_s32(start, vshlq_n_s32(wrong, 1)));
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

#include "isa_table.inc"

}  // namespace

const Isa* neon_isa() { return &kIsa; }

}  // namespace xnorlit
#else
namespace xnorlit {
const Isa* neon_isa() { return nullptr; }
}  // namespace xnorlit
#endif
