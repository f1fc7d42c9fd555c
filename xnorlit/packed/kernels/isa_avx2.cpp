// AVX2 has no vector population count, but its byte shuffle is a table look-up, and the table can do the XOR:
//
//   T[a, b][w] = ones(a ^ w) + 16 * ones(b ^ w)      a, b, w in 0..15
//
// The table is chosen by the nibbles a and b of two output positions and indexed with the nibbles w of 32 output
// channels: one shuffle counts 32 channels x 4 products x 2 positions.
#include "isa.h"

#if defined(__AVX2__)
#include <immintrin.h>

#include <cstring>
#include <utility>

namespace xnorlit {
namespace {

constexpr const char* kName = "avx2";
constexpr int kLanes = 8, kFloatBlocks = 3, kSignBlocks = 3, kDoubleBlocks = 1;
constexpr int kChannels = 32, kBitBlocks = 2, kUnits = 4, kPair = 2, kOperandBytes = 16, kByteWidth = 2;
#define XNORLIT_OPAQUE(value) "+x"(value)
#define XNORLIT_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define XNORLIT_SCALAR_FMA(a, b, c) __builtin_fmaf(a, b, c)
#define XNORLIT_DOUBLE_FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#include "dispatch.inc"
#include "real_tile.inc"
#include "elementwise.inc"

struct alignas(64) Tables {
  uint8_t pair[256][16];   // [16 a + b][w]
  uint8_t single[16][16];  // [a][w]
  Tables() {
    for (int a = 0; a < 16; ++a)
      for (int w = 0; w < 16; ++w) {
        single[a][w] = static_cast<uint8_t>(__builtin_popcount(a ^ w));
        for (int b = 0; b < 16; ++b)
          pair[16 * a + b][w] = static_cast<uint8_t>(__builtin_popcount(a ^ w) + 16 * __builtin_popcount(b ^ w));
      }
  }
};

const Tables& tables() {
  static const Tables made;
  return made;
}

// The operand: for each nibble of the map the 16-bit offset of its table, 256 * a + 16 * b for a pair.
void prepare(const uint32_t* row, int words, int partner, uint8_t* operand) {
  const __m128i low_nibbles = _mm_set1_epi8(15);
  const auto nibbles = [&](uint32_t word) {
    const __m128i bytes = _mm_cvtsi32_si128(static_cast<int>(word));
    return _mm_unpacklo_epi8(_mm_and_si128(bytes, low_nibbles), _mm_and_si128(_mm_srli_epi16(bytes, 4), low_nibbles));
  };
  for (int k = 0; k < words; ++k, operand += 16) {
    // A pair that ends beyond the row belongs to no two positions; its second half is never read.
    const __m128i first = nibbles(row[k]);
    const __m128i second = partner && k + partner < words ? nibbles(row[k + partner]) : _mm_setzero_si128();
    const __m128i offsets = partner ? _mm_unpacklo_epi8(_mm_slli_epi16(second, 4), first)
                                    : _mm_unpacklo_epi8(_mm_slli_epi16(first, 4), _mm_setzero_si128());
    _mm_storeu_si128(reinterpret_cast<__m128i*>(operand), offsets);
  }
}

// Channels c and c + 16 stand side by side: the even bytes of a counter and its odd ones widen to channels that follow
// each other.
void pack_block(const uint32_t* rows, int channels, int words, uint8_t* block) {
  for (int k = 0; k < words; ++k)
    for (int byte = 0; byte < 4; ++byte)
      for (int place = 0; place < kChannels; ++place) {
        const int c = place / 2 + place % 2 * (kChannels / 2);
        *block++ = c < channels ? static_cast<uint8_t>(rows[int64_t{c} * words + k] >> (8 * byte)) : 0;
      }
}

inline __m256i table_at(const uint8_t* base, const uint8_t* offsets, int index) {
  uint16_t offset;
  std::memcpy(&offset, offsets + 2 * index, sizeof offset);
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(base + offset)));
}

// 16-bit sums in memory, emptied into the 32-bit ones before they can overflow.
template <int Positions, int Channels>
struct WideSums {
  alignas(32) uint16_t sums[Positions][Channels] = {};
  int added = 0;

  void add(int position, int channel, __m256i bytes) {
    auto* to = reinterpret_cast<__m256i*>(&sums[position][channel]);
    const __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(bytes, 8);
    _mm256_store_si256(to, _mm256_add_epi16(_mm256_load_si256(to), even));
    _mm256_store_si256(to + 1, _mm256_add_epi16(_mm256_load_si256(to + 1), odd));
  }

  void empty(int32_t* into) {
    for (int p = 0; p < Positions; ++p)
      for (int c = 0; c < Channels; ++c) into[p * kTileChannels + c] += sums[p][c];
    std::memset(sums, 0, sizeof sums);
    added = 0;
  }
};

constexpr int kWidenings = 250;  // of at most 255 each before 16 bits could overflow

// Bytes that hold two counters: the sum of both, mod 256, and the high one by itself. Three look-ups are added before
// a nibble could overflow (3 x 4 = 12); then `take` moves them here. The low counter is total - 16 * high.
struct PairCounter {
  __m256i total = _mm256_setzero_si256();
  __m256i high = _mm256_setzero_si256();

  void take(__m256i both) {
    total = _mm256_add_epi8(total, both);
    high = _mm256_add_epi8(high, _mm256_and_si256(_mm256_srli_epi16(both, 4), _mm256_set1_epi8(15)));
  }

  static constexpr int kPositions = 2;

  template <typename Wide>
  void widen(Wide& wide, int unit, int channel) {
    const __m256i sixteenfold = _mm256_and_si256(_mm256_slli_epi16(high, 4), _mm256_set1_epi8(static_cast<char>(0xf0)));
    wide.add(2 * unit, channel, _mm256_sub_epi8(total, sixteenfold));
    wide.add(2 * unit + 1, channel, high);
    *this = PairCounter();
  }
};

// One counter per byte.
struct SingleCounter {
  __m256i total = _mm256_setzero_si256();

  void take(__m256i sum) { total = _mm256_add_epi8(total, sum); }

  static constexpr int kPositions = 1;

  template <typename Wide>
  void widen(Wide& wide, int unit, int channel) {
    wide.add(unit, channel, total);
    *this = SingleCounter();
  }
};

// The low or the high nibbles of 32 bytes.
template <bool High>
inline __m256i nibbles_at(const uint8_t* bytes) {
  __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  if constexpr (High) both = _mm256_srli_epi16(both, 4);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// One half of `Bytes` bytes of K, at most three: a table that was loaded serves all blocks, nibbles all units.
template <bool High, int Units, int Blocks, int Bytes, typename Counter>
XNORLIT_INLINE void count_halves(const uint8_t* table, const uint8_t* const* inputs, ptrdiff_t offset,
                                 const uint8_t* const* weights, ptrdiff_t at, Counter (&counters)[Units][Blocks]) {
  static_assert(Bytes <= 3);
  __m256i sums[Units][Blocks];
  each<Bytes>([&]<int Byte>() XNORLIT_INLINE_LAMBDA {
    __m256i index[Blocks];
    each<Blocks>([&]<int B>()
                     XNORLIT_INLINE_LAMBDA { index[B] = nibbles_at<High>(weights[B] + at + Byte * kChannels); });
    each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
      const __m256i row = table_at(table, inputs[U] + offset, 2 * Byte + High);
      each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA {
        const __m256i found = _mm256_shuffle_epi8(row, index[B]);
        sums[U][B] = Byte ? _mm256_add_epi8(sums[U][B], found) : found;
      });
    });
  });
  each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
    each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA { counters[U][B].take(sums[U][B]); });
  });
}

// `steps` times `Bytes` bytes, few enough for a counter, added to the wide sums; all low nibbles before the high ones,
// so that the counters stay in registers.
template <int Units, int Blocks, int Bytes, typename Counter, typename Wide>
XNORLIT_INLINE void count_steps(const uint8_t* table, const uint8_t* const* inputs, int byte,
                                const uint8_t* const* weights, ptrdiff_t at, int steps, Wide& wide) {
  Counter counters[Units][Blocks];
  for (int step = 0; step < steps; ++step)
    count_halves<false, Units, Blocks, Bytes>(table, inputs, 4 * (byte + step * Bytes), weights,
                                              at + step * Bytes * kChannels, counters);
  for (int step = 0; step < steps; ++step)
    count_halves<true, Units, Blocks, Bytes>(table, inputs, 4 * (byte + step * Bytes), weights,
                                             at + step * Bytes * kChannels, counters);
  each<Units>([&]<int U>() XNORLIT_INLINE_LAMBDA {
    each<Blocks>([&]<int B>() XNORLIT_INLINE_LAMBDA { counters[U][B].widen(wide, U, B * kChannels); });
  });
}

template <int Units, int Blocks, typename Counter>
void count_tile(const BitTile& tile, const uint8_t* table) {
  constexpr int kSteps = 10;  // of 3 bytes: 20 times at most 12 in a counter of 8 bits
  constexpr int kPositions = Units * Counter::kPositions, kTileWidth = Blocks * kChannels;
  const int bytes = 4 * tile.run, whole = bytes / 3;
  WideSums<kPositions, kTileWidth> wide;
  for (int p = 0; p < kPositions; ++p)
    std::memset(tile.mismatches + p * kTileChannels, 0, sizeof(int32_t) * kTileWidth);
  const uint8_t* inputs[Units];
  const uint8_t* weights[Blocks];
  for (int u = 0; u < Units; ++u) inputs[u] = tile.inputs[u];
  for (int b = 0; b < Blocks; ++b) weights[b] = tile.weights[b];
  ptrdiff_t at = 0;
  for (int row = 0; row < tile.rows; ++row, at += bytes * kChannels) {
    for (int start = 0; start < whole; start += kSteps) {
      const int steps = whole - start < kSteps ? whole - start : kSteps;
      count_steps<Units, Blocks, 3, Counter>(table, inputs, 3 * start, weights, at + 3 * start * kChannels, steps,
                                             wide);
      if (++wide.added == kWidenings) wide.empty(tile.mismatches);
    }
    if (3 * whole < bytes) {
      count_steps<Units, Blocks, 1, Counter>(table, inputs, 3 * whole, weights, at + 3 * whole * kChannels,
                                             bytes - 3 * whole, wide);
      if (++wide.added == kWidenings) wide.empty(tile.mismatches);
    }
    for (int u = 0; u < Units; ++u) inputs[u] += tile.row_bytes;
  }
  wide.empty(tile.mismatches);
}

void count(const BitTile& tile) {
  if (!tile.paired) {
    const uint8_t* table = tables().single[0];
    for (int u = 0; u < tile.units; ++u) {
      BitTile one = tile;
      one.units = 1;
      one.inputs[0] = tile.inputs[u];
      one.mismatches = tile.mismatches + u * kTileChannels;
      with_constant<kBitBlocks>(tile.blocks, [&]<int Blocks>() { count_tile<1, Blocks, SingleCounter>(one, table); });
    }
    return;
  }
  // Block by block: the counters of four pairs of one block fill the registers.
  for (int b = 0; b < tile.blocks; ++b) {
    BitTile block = tile;
    block.weights[0] = tile.weights[b];
    block.mismatches = tile.mismatches + b * kChannels;
    with_constant<kUnits>(tile.units, [&]<int Units>() { count_tile<Units, 1, PairCounter>(block, tables().pair[0]); });
  }
}

// Values of 16 bits: the instruction for bytes saturates its sums of two products.
template <int Units, int Blocks>
void multiply_bytes_tile(const ByteTile& tile) {
  __m256i sums[Units][Blocks];
  const uint8_t* inputs[Units];
  for (int u = 0; u < Units; ++u) {
    inputs[u] = tile.inputs[u];
    for (int b = 0; b < Blocks; ++b) sums[u][b] = _mm256_setzero_si256();
  }
  ptrdiff_t at = 0;
  for (int row = 0; row < tile.rows; ++row) {
    for (int k = 0; k < tile.run; ++k, at += 4 * kLanes) {
      __m256i weights[Blocks];
      for (int b = 0; b < Blocks; ++b)
        weights[b] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile.weights[b] + at));
      for (int u = 0; u < Units; ++u) {
        int32_t word;
        std::memcpy(&word, inputs[u] + 4 * k, sizeof word);
        const __m256i input = _mm256_set1_epi32(word);
        for (int b = 0; b < Blocks; ++b)
          sums[u][b] = _mm256_add_epi32(sums[u][b], _mm256_madd_epi16(input, weights[b]));
      }
    }
    for (int u = 0; u < Units; ++u) inputs[u] += tile.row_bytes;
  }
  for (int u = 0; u < Units; ++u)
    for (int b = 0; b < Blocks; ++b)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile.sums + u * kFloatChannels + b * kLanes), sums[u][b]);
}

void multiply_bytes(const ByteTile& tile) {
  with_constants<kFloatBlocks>(tile.units, tile.blocks,
                               [&]<int Units, int Blocks>() { multiply_bytes_tile<Units, Blocks>(tile); });
}

void dots(int32_t* mismatches, int32_t base, const int32_t* padded, int channels) {
  const __m256i start = _mm256_set1_epi32(base);
  for (int c = 0; c < channels; c += 8) {
    auto* at = reinterpret_cast<__m256i*>(mismatches + c);
    __m256i wrong = _mm256_loadu_si256(at);
    if (padded) wrong = _mm256_sub_epi32(wrong, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(padded + c)));
    _mm256_storeu_si256(at, _mm256_sub_epi32(start, _mm256_slli_epi32(wrong, 1)));
  }
}

uint32_t at_least(const int32_t* values, const int32_t* thresholds) {
  uint32_t below = 0;
  for (int c = 0; c < 32; c += 8) {
    const __m256i value = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + c));
    const __m256i threshold = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(thresholds + c));
    const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(threshold, value)));
    below |= static_cast<uint32_t>(mask) << c;
  }
  return ~below;
}

// Bit l of the result: lane l of `values` is at least that of `thresholds`.
inline uint32_t lanes_at_least(Vector values, Vector thresholds) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(values, thresholds, _CMP_GE_OQ)));
}

#include "pack_signs.inc"

// Look-ups and additions of three tables in registers, and their share of `take`.
int64_t spin_bits(int64_t rounds) {
  __m256i table = _mm256_setzero_si256(), index[2] = {table, table};
  PairCounter counters[2];
  for (int64_t round = 0; round < rounds; ++round) {
    for (int b = 0; b < 2; ++b) {
      __m256i sum;
      for (int l = 0; l < 3; ++l) {
        asm volatile("" : XNORLIT_OPAQUE(table), XNORLIT_OPAQUE(index[b]));
        const __m256i found = _mm256_shuffle_epi8(table, index[b]);
        sum = l ? _mm256_add_epi8(sum, found) : found;
      }
      counters[b].take(sum);
    }
  }
  for (auto& counter : counters) asm volatile("" : XNORLIT_OPAQUE(counter.total), XNORLIT_OPAQUE(counter.high));
  return rounds * 2 * 3 * kChannels * 4 * 2;
}

#include "isa_table.inc"

}  // namespace

const Isa* avx2_isa() { return &kIsa; }

}  // namespace xnorlit
#else
namespace xnorlit {
const Isa* avx2_isa() { return nullptr; }
}  // namespace xnorlit
#endif
