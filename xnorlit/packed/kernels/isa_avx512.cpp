// AVX-512 with VPOPCNTDQ: xor, count, add on 16 output channels of 32 input bits each; with VNNI for the byte ends.
// Every processor that has the one has the other, and the wide registers for bytes.
#include "isa.h"

#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512VNNI__)
#include <immintrin.h>

#include <cstring>
#include <utility>

namespace xnorlit {
namespace {

constexpr const char* kName = "avx512";
constexpr int kLanes = 16, kFloatBlocks = 6, kSignBlocks = 6, kDoubleBlocks = 3;
constexpr int kChannels = kLanes, kBitBlocks = 4, kUnits = 4, kByteWidth = 1;
#define XNORLIT_OPAQUE(value) "+v"(value)
#define XNORLIT_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define XNORLIT_SCALAR_FMA(a, b, c) __builtin_fmaf(a, b, c)
#define XNORLIT_DOUBLE_FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define XNORLIT_OWN_SIGN_WEIGHTS
#define XNORLIT_OWN_COUNT_BITS
#include "dispatch.inc"
#include "real_tile.inc"
#include "elementwise.inc"
#include "words.inc"

inline void SignWeights::load_block(const uint8_t* from, Vector* weights) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  weights[0] = _mm512_mask_blend_ps(bits, _mm512_set1_ps(-1.0f), _mm512_set1_ps(1.0f));
}

// Four positions times four blocks keep 16 sums and 4 weights in registers; a word of the input is broadcast once for
// all blocks. Of the three instructions per 512 products none can be saved with carry-save adders: each full adder
// costs the two instructions that it saves. `take(unit, block, sums)` gets the sums while they are in registers.
template <int Units, int Blocks, typename Take>
XNORLIT_INLINE void count_tile(const BitTile& tile, const Take& take) {
  __m512i sums[Units][Blocks];
  const uint8_t* inputs[Units];
  each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
    inputs[U] = tile.inputs[U];
    each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA { sums[U][B] = _mm512_setzero_si512(); });
  });
  const uint8_t* at = tile.weights[0];
  const ptrdiff_t step = Blocks > 1 ? tile.weights[Blocks > 1] - at : 0;
  for (int row = 0; row < tile.rows; ++row) {
    for (int k = 0; k < tile.run; ++k, at += 64) {
      __m512i weights[Blocks];
      each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA { weights[B] = _mm512_loadu_si512(at + B * step); });
      each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
        int32_t word;
        std::memcpy(&word, inputs[U] + 4 * k, sizeof word);
        const __m512i input = _mm512_set1_epi32(word);
        each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA {
          sums[U][B] = _mm512_add_epi32(sums[U][B], _mm512_popcnt_epi32(_mm512_xor_si512(weights[B], input)));
        });
      });
    }
    each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA { inputs[U] += tile.row_bytes; });
  }
  each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA { take.template operator()<U>(sums[U]); });
}

void count(const BitTile& tile) {
  with_constants<kBitBlocks>(tile.units, tile.blocks, [&]<int Units, int Blocks>() {
    count_tile<Units, Blocks>(tile, [&]<int U>(const __m512i(&sums)[Blocks]) XNORLIT_INLINE_LAMBDA {
      each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA {
        _mm512_storeu_si512(tile.mismatches + U * kTileChannels + B * kLanes, sums[B]);
      });
    });
  });
}

void count_bits(const BitTile& tile, const int32_t* const* most, uint32_t (*bits)[kTileWords]) {
  with_constants<kBitBlocks>(tile.units, tile.blocks, [&]<int Units, int Blocks>() {
    count_tile<Units, Blocks>(tile, [&]<int U>(const __m512i(&sums)[Blocks]) XNORLIT_INLINE_LAMBDA {
      __mmask16 found[4] = {};
      each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA {
        found[B] = _mm512_cmple_epi32_mask(sums[B], _mm512_loadu_si512(most[U] + B * kLanes));
      });
      const __mmask32 low = _mm512_kunpackw(found[1], found[0]), high = _mm512_kunpackw(found[3], found[2]);
      const uint64_t both = _mm512_kunpackd(high, low);
      std::memcpy(bits[U], &both, sizeof both);
    });
  });
}

template <int Units, int Blocks>
void multiply_bytes_tile(const ByteTile& tile) {
  __m512i sums[Units][Blocks];
  const uint8_t* inputs[Units];
  each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
    inputs[U] = tile.inputs[U];
    each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA { sums[U][B] = _mm512_setzero_si512(); });
  });
  ptrdiff_t at = 0;
  for (int row = 0; row < tile.rows; ++row) {
    for (int k = 0; k < tile.run; ++k, at += 4 * kLanes) {
      __m512i weights[Blocks];
      each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA { weights[B] = _mm512_loadu_si512(tile.weights[B] + at); });
      each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
        int32_t word;
        std::memcpy(&word, inputs[U] + 4 * k, sizeof word);
        const __m512i input = _mm512_set1_epi32(word);
        each<Blocks>([&]<int B>()
                         XNORLIT_INLINE_LAMBDA { sums[U][B] = _mm512_dpbusd_epi32(sums[U][B], input, weights[B]); });
      });
    }
    each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA { inputs[U] += tile.row_bytes; });
  }
  each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
    each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA {
      _mm512_storeu_si512(tile.sums + U * kFloatChannels + B * kLanes, sums[U][B]);
    });
  });
}

void multiply_bytes(const ByteTile& tile) {
  with_constants<kFloatBlocks>(tile.units, tile.blocks,
                               [&]<int Units, int Blocks>() { multiply_bytes_tile<Units, Blocks>(tile); });
}

void dots(int32_t* mismatches, int32_t base, const int32_t* padded, int channels) {
  const __m512i start = _mm512_set1_epi32(base);
  for (int c = 0; c < channels; c += 16) {
    __m512i wrong = _mm512_loadu_si512(mismatches + c);
    if (padded) wrong = _mm512_sub_epi32(wrong, _mm512_loadu_si512(padded + c));
    _mm512_storeu_si512(mismatches + c, _mm512_sub_epi32(start, _mm512_add_epi32(wrong, wrong)));
  }
}

uint32_t at_least(const int32_t* values, const int32_t* thresholds) {
  const auto half = [&](int c) -> uint32_t {
    return _mm512_cmpge_epi32_mask(_mm512_loadu_si512(values + c), _mm512_loadu_si512(thresholds + c));
  };
  return half(0) | half(16) << 16;
}

// Bit l of the result: lane l of `values` is at least that of `thresholds`.
inline uint32_t lanes_at_least(Vector values, Vector thresholds) {
  return _mm512_cmp_ps_mask(values, thresholds, _CMP_GE_OQ);
}

void pack_signs(const float* values, int count, uint32_t* words) {
  const __m512 zero = _mm512_setzero_ps();
  for (int start = 0; start < count; start += 32) {
    const int here = count - start;
    const __mmask16 low = here >= 16 ? 0xffff : (1u << here) - 1;
    const __mmask16 high = here >= 32 ? 0xffff : here > 16 ? (1u << (here - 16)) - 1 : 0;
    const uint32_t first = _mm512_mask_cmp_ps_mask(low, _mm512_maskz_loadu_ps(low, values + start), zero, _CMP_GE_OQ);
    uint32_t second = 0;
    if (high)
      second = _mm512_mask_cmp_ps_mask(high, _mm512_maskz_loadu_ps(high, values + start + 16), zero, _CMP_GE_OQ);
    words[start / 32] = first | second << 16;
  }
}

int64_t spin_bits(int64_t rounds) {
  __m512i sums[16], weight = _mm512_setzero_si512(), input = weight;
  for (auto& sum : sums) sum = weight;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (auto& sum : sums) {
      asm volatile("" : XNORLIT_OPAQUE(weight), XNORLIT_OPAQUE(input));
      sum = _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(weight, input)));
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) asm volatile("" : XNORLIT_OPAQUE(sum));
  return rounds * 16 * 512;
}

#include "isa_table.inc"

}  // namespace

const Isa* avx512_isa() { return &kIsa; }

}  // namespace xnorlit
#else
namespace xnorlit {
const Isa* avx512_isa() { return nullptr; }
}  // namespace xnorlit
#endif
