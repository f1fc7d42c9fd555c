// Shapes of what flows between layers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

namespace xnorlit {

struct Shape {
  int height, width, channels;
  int64_t positions() const { return int64_t{height} * width; }
  int64_t values() const { return positions() * channels; }
};

inline int words_of(int channels) { return (channels + 31) / 32; }

// A map of bits with the zero border that its reader's window needs: [image][plane][row][column][word]. A plane of
// signs holds 1 for +1, plane p of codes their bit p. Bits of the border and beyond the last channel are 0.
struct BitMap {
  Shape shape;
  int pad_y = 0, pad_x = 0, planes = 1;

  int words() const { return words_of(shape.channels); }
  int rows() const { return shape.height + 2 * pad_y; }
  int64_t row_words() const { return int64_t{shape.width + 2 * pad_x} * words(); }
  int64_t plane_words() const { return rows() * row_words(); }
  int64_t image_words() const { return planes * plane_words(); }
  // Where a position's words of plane 0 begin; (0, 0) is the first position inside the border.
  int64_t at(int image, int y, int x) const {
    return image * image_words() + (y + pad_y) * row_words() + int64_t{x + pad_x} * words();
  }
};

struct Window {
  int kernel_y = 1, kernel_x = 1, stride_y = 1, stride_x = 1, pad_y = 0, pad_x = 0;

  Shape over(const Shape& in, int outputs) const {
    return {(in.height + 2 * pad_y - kernel_y) / stride_y + 1, (in.width + 2 * pad_x - kernel_x) / stride_x + 1,
            outputs};
  }
};

// Bytes up to the next vector's alignment.
inline int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// A max pool whose padding never is the largest; 1, 1, 0 for none.
struct MaxPool {
  int size = 1, stride = 1, pad = 0;

  bool none() const { return size == 1 && stride == 1; }
  Shape over(const Shape& in) const {
    return {(in.height + 2 * pad - size) / stride + 1, (in.width + 2 * pad - size) / stride + 1, in.channels};
  }
  // The places of one window along one side, [first, second).
  std::pair<int, int> places(int window, int side) const {
    const int start = window * stride - pad;
    return {std::max(start, 0), std::min(start + size, side)};
  }
};

}  // namespace xnorlit
