// The instruction set for any processor: plain C++, which the compiler may vectorise for the architecture's baseline.
#include <cstring>
#include <utility>

#include "isa.h"

namespace xnorlit {
namespace {

constexpr const char* kName = "portable";
constexpr int kLanes = 4, kFloatBlocks = 3, kSignBlocks = 1, kDoubleBlocks = 1;
constexpr int kChannels = 16, kBitBlocks = 4, kUnits = 4, kByteWidth = 2;
#if defined(__x86_64__)
#define XNORLIT_OPAQUE(value) "+x"(value)
#elif defined(__aarch64__)
#define XNORLIT_OPAQUE(value) "+w"(value)
#else
#define XNORLIT_OPAQUE(value) "+m"(value)
#endif
#define XNORLIT_FMA(a, b, c) ((a) * (b) + (c))
#define XNORLIT_SCALAR_FMA(a, b, c) ((a) * (b) + (c))
#define XNORLIT_DOUBLE_FMA(a, b, c) ((a) * (b) + (c))
#include "dispatch.inc"
#include "real_tile.inc"
#include "byte_tile.inc"
#include "elementwise.inc"
#include "words.inc"
#include "compare.inc"

typedef uint32_t Words __attribute__((vector_size(16)));

// Ones in each 32-bit lane, by sums of ever wider fields; the last multiplication adds the four bytes.
inline Words ones(Words x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  x += x >> 8;
  return (x + (x >> 16)) & 0x3fu;
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

#include "isa_table.inc"

}  // namespace

const Isa* portable_isa() { return &kIsa; }

}  // namespace xnorlit
