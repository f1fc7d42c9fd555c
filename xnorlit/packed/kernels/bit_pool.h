// Bits of one map into another: put in place, and the max pool of signs.
#pragma once

#include <algorithm>

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
  constexpr int64_t kRowWords = 2048;
  uint32_t any[kRowWords];  // the OR of a window's rows, which all windows beside each other share
  const int words = in_map.words();
  const int64_t row_words = in_map.row_words(), columns = in_map.at(0, 0, 0) - in_map.pad_y * row_words;
  for (int y = 0; y < out_map.shape.height; ++y) {
    const auto [top, bottom] = pool.places(y, in_map.shape.height);
    const uint32_t* from = in + (top + in_map.pad_y) * row_words;
    int rows = bottom - top;
    // A longer row does without: the stack bounds the memory, and a run must not allocate.
    if (row_words <= kRowWords) {
      std::copy_n(from, row_words, any);
      for (int row = 1; row < rows; ++row)
        for (int64_t w = 0; w < row_words; ++w) any[w] |= from[row * row_words + w];
      from = any;
      rows = 1;
    }
    for (int x = 0; x < out_map.shape.width; ++x) {
      const auto [left, right] = pool.places(x, in_map.shape.width);
      uint32_t* to = out + out_map.at(0, y, x);
      std::copy_n(from + columns + int64_t{left} * words, words, to);
      for (int row = 0; row < rows; ++row)
        for (int column = left + (row == 0); column < right; ++column)
          for (int w = 0; w < words; ++w) to[w] |= from[row * row_words + columns + int64_t{column} * words + w];
      for (int w = 0; w < words; ++w) to[w] ^= flips[w];
    }
  }
}

}  // namespace xnorlit
