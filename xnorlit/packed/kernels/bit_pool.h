// Bits of one map into another: put in place, and the max pool of signs.
#pragma once

#include "map.h"

namespace xnorlit {

// ORs `count` bits (at most 32) into words that hold 0 there, beginning at bit `at`.
inline void put_bits(uint32_t* words, int at, uint32_t bits, int count) {
  if (count < 32) bits &= (1u << count) - 1;
  words[at / 32] |= bits << (at % 32);
  if (at % 32 + count > 32) words[at / 32 + 1] |= bits >> (32 - at % 32);
}

// One image, the maximum of bits being their OR: out = OR over the pool's windows of `in`, then xor `flips` (one bit
// per channel, whole words).
inline void pool_bits(const uint32_t* in, const BitMap& in_map, const MaxPool& pool, const uint32_t* flips,
                      uint32_t* out, const BitMap& out_map) {
  const int words = in_map.words();
  for (int y = 0; y < out_map.shape.height; ++y) {
    const auto [top, bottom] = pool.places(y, in_map.shape.height);
    for (int x = 0; x < out_map.shape.width; ++x) {
      const auto [left, right] = pool.places(x, in_map.shape.width);
      uint32_t* to = out + out_map.at(0, y, x);
      for (int w = 0; w < words; ++w) {
        uint32_t any = 0;
        for (int row = top; row < bottom; ++row)
          for (int column = left; column < right; ++column) any |= in[in_map.at(0, row, column) + w];
        to[w] = any ^ flips[w];
      }
    }
  }
}

}  // namespace xnorlit
