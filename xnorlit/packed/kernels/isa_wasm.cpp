// WebAssembly with 128-bit vectors, in browsers: xor, count the ones of each byte, add; 4 output channels of 32 input
// bits in a register. It has no fused multiply-add, so that reals are summed as the portable kernels sum them.
#include "isa.h"

#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

#include <cstring>
#include <utility>

namespace xnorlit {
namespace {

constexpr const char* kName = "wasm";
constexpr int kLanes = 4, kFloatBlocks = 3, kSignBlocks = 1, kDoubleBlocks = 1;
constexpr int kChannels = 16, kBitBlocks = 4, kUnits = 4, kByteWidth = 2;
#define XNORLIT_OPAQUE(value) "+r"(value)
#define XNORLIT_FMA(a, b, c) ((a) * (b) + (c))
#define XNORLIT_SCALAR_FMA(a, b, c) ((a) * (b) + (c))
#define XNORLIT_DOUBLE_FMA(a, b, c) ((a) * (b) + (c))
#include "dispatch.inc"
#include "real_tile.inc"
#include "elementwise.inc"
#include "words.inc"

constexpr int kRegisters = kChannels / 4;

// Sums of bytes hold 31 words of at most 8 ones before they have to widen.
template <int Units>
void count_block(const BitTile& tile, int block) {
  v128_t sums[Units][kRegisters];
  for (auto& unit : sums)
    for (auto& sum : unit) sum = wasm_i32x4_splat(0);
  const uint8_t* weights = tile.weights[block];
  for (int row = 0; row < tile.rows; ++row) {
    for (int start = 0; start < tile.run; start += 31) {
      const int end = start + 31 < tile.run ? start + 31 : tile.run;
      v128_t bytes[Units][kRegisters];
      for (auto& unit : bytes)
        for (auto& sum : unit) sum = wasm_i32x4_splat(0);
      for (int k = start; k < end; ++k, weights += 4 * kChannels) {
        for (int u = 0; u < Units; ++u) {
          const v128_t input = wasm_v128_load32_splat(tile.inputs[u] + row * tile.row_bytes + 4 * k);
          for (int r = 0; r < kRegisters; ++r)
            bytes[u][r] =
                wasm_i8x16_add(bytes[u][r], wasm_i8x16_popcnt(wasm_v128_xor(wasm_v128_load(weights + 16 * r), input)));
        }
      }
      for (int u = 0; u < Units; ++u)
        for (int r = 0; r < kRegisters; ++r)
          sums[u][r] = wasm_i32x4_add(sums[u][r],
                                      wasm_u32x4_extadd_pairwise_u16x8(wasm_u16x8_extadd_pairwise_u8x16(bytes[u][r])));
    }
  }
  for (int u = 0; u < Units; ++u)
    for (int r = 0; r < kRegisters; ++r)
      wasm_v128_store(tile.mismatches + u * kTileChannels + block * kChannels + 4 * r, sums[u][r]);
}

void count(const BitTile& tile) {
  for (int b = 0; b < tile.blocks; ++b)
    with_constant<kMaxUnits>(tile.units, [&]<int Units>() { count_block<Units>(tile, b); });
}

template <int Units, int Blocks>
void multiply_bytes_tile(const ByteTile& tile) {
  v128_t sums[Units][Blocks];
  for (auto& unit : sums)
    for (auto& sum : unit) sum = wasm_i32x4_splat(0);
  ptrdiff_t at = 0;
  for (int row = 0; row < tile.rows; ++row) {
    for (int k = 0; k < tile.run; ++k, at += 4 * kLanes) {
      for (int u = 0; u < Units; ++u) {
        const v128_t input = wasm_v128_load32_splat(tile.inputs[u] + row * tile.row_bytes + 4 * k);
        for (int b = 0; b < Blocks; ++b)
          sums[u][b] = wasm_i32x4_add(sums[u][b], wasm_i32x4_dot_i16x8(input, wasm_v128_load(tile.weights[b] + at)));
      }
    }
  }
  for (int u = 0; u < Units; ++u)
    for (int b = 0; b < Blocks; ++b) wasm_v128_store(tile.sums + u * kFloatChannels + b * kLanes, sums[u][b]);
}

void multiply_bytes(const ByteTile& tile) {
  with_constants<kFloatBlocks>(tile.units, tile.blocks,
                               [&]<int Units, int Blocks>() { multiply_bytes_tile<Units, Blocks>(tile); });
}

void dots(int32_t* mismatches, int32_t base, const int32_t* padded, int channels) {
  const v128_t start = wasm_i32x4_splat(base);
  for (int c = 0; c < channels; c += 4) {
    v128_t wrong = wasm_v128_load(mismatches + c);
    if (padded) wrong = wasm_i32x4_sub(wrong, wasm_v128_load(padded + c));
    wasm_v128_store(mismatches + c, wasm_i32x4_sub(start, wasm_i32x4_shl(wrong, 1)));
  }
}

uint32_t at_least(const int32_t* values, const int32_t* thresholds) {
  uint32_t bits = 0;
  for (int c = 0; c < 32; c += 4)
    bits |= uint32_t{wasm_i32x4_bitmask(wasm_i32x4_ge(wasm_v128_load(values + c), wasm_v128_load(thresholds + c)))}
            << c;
  return bits;
}

// Bit c: values[c] >= thresholds[c], of one vector.
XNORLIT_INLINE uint32_t lanes_at_least(Vector values, Vector thresholds) {
  return wasm_i32x4_bitmask(wasm_f32x4_ge(reinterpret_cast<v128_t>(values), reinterpret_cast<v128_t>(thresholds)));
}

#include "pack_signs.inc"

int64_t spin_bits(int64_t rounds) {
  v128_t sums[8], weight = wasm_i32x4_splat(0), input = weight;
  for (auto& sum : sums) sum = wasm_i32x4_splat(0);
  for (int64_t round = 0; round < rounds; ++round) {
    for (auto& sum : sums) {
      asm volatile("" : XNORLIT_OPAQUE(weight), XNORLIT_OPAQUE(input));
      sum = wasm_i8x16_add(sum, wasm_i8x16_popcnt(wasm_v128_xor(weight, input)));
    }
  }
  for (auto& sum : sums) asm volatile("" : XNORLIT_OPAQUE(sum));
  return rounds * 8 * 128;
}

#include "isa_table.inc"

}  // namespace

const Isa* wasm_isa() { return &kIsa; }

}  // namespace xnorlit
#else
namespace xnorlit {
const Isa* wasm_isa() { return nullptr; }
}  // namespace xnorlit
#endif
