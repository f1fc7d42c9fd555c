// Bits of one map into another: put in place, and the max pool of signs.
#pragma once

#include <algorithm>
#include <vector>

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
  const int64_t row_words = in_map.row_words(), columns = in_map.at(0, 0, 0) - in_map.pad_y * row_words;
  std::vector<uint32_t> any(row_words);  // the OR of a window's rows
  for (int y = 0; y < out_map.shape.height; ++y) {
    const auto [top, bottom] = pool.places(y, in_map.shape.height);
    std::copy_n(in + (top + in_map.pad_y) * row_words, row_words, any.data());
    for (int row = top + 1; row < bottom; ++row)
      for (int64_t w = 0; w < row_words; ++w) any[w] |= in[(row + in_map.pad_y) * row_words + w];
    for (int x = 0; x < out_map.shape.width; ++x) {
      const auto [left, right] = pool.places(x, in_map.shape.width);
      uint32_t* to = out + out_map.at(0, y, x);
      for (int w = 0; w < words; ++w) to[w] = any[columns + int64_t{left} * words + w];
      for (int column = left + 1; column < right; ++column)
        for (int w = 0; w < words; ++w) to[w] |= any[columns + int64_t{column} * words + w];
      for (int w = 0; w < words; ++w) to[w] ^= flips[w];
    }
  }
}

}  // namespace xnorlit
