// What Python hands over, as the settings of layers, checked for what memory safety needs, whoever calls.
//
// Python's reader (xnorlit/packed/check.py) has validated a file before anything comes here and its messages name the
// file's fields.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "binary_layer.h"
#include "byte_layers.h"
#include "real_layer.h"

namespace xnorlit {

using Bytes = nanobind::ndarray<const uint8_t, nanobind::c_contig, nanobind::device::cpu>;
using Floats = nanobind::ndarray<const float, nanobind::c_contig, nanobind::device::cpu>;
using SignedBytes = nanobind::ndarray<const int8_t, nanobind::c_contig, nanobind::device::cpu>;
using Ints = nanobind::ndarray<const int32_t, nanobind::c_contig, nanobind::device::cpu>;

// Every product of three extents fits 64 bits, and every window's length 31.
constexpr int kLargest = 1 << 20;
// Sums of products of bytes stay within 31 bits.
constexpr int64_t kMostByteProducts = std::numeric_limits<int32_t>::max() / (255 * 128);
constexpr int64_t kMostBytes = int64_t{1} << 34;
constexpr int64_t kLargestSum = (int64_t{1} << 30) - 1;  // doubled, it fits 31 bits

void require(bool condition, const char* message);

template <typename Number, typename Array>
std::vector<Number> numbers(const Array& array, int64_t count, const char* what) {
  if (static_cast<int64_t>(array.size()) != count)
    throw std::invalid_argument(std::string(what) + ": " + std::to_string(array.size()) + " values, expected " +
                                std::to_string(count));
  return std::vector<Number>(array.data(), array.data() + count);
}

// What a layer is whatever its operands: the map that it reads, where it looks, and what it makes.
struct Frame {
  Frame(const std::vector<int>& extents, const std::vector<int>& window_values, int groups, int outputs);

  int64_t taps() const { return int64_t{window.kernel_y} * window.kernel_x; }
  int64_t octets() const { return (input.channels / groups + 7) / 8; }
  int64_t products() const { return taps() * (input.channels / groups); }

  // At most so many bytes become of weights while a layer loads, on whichever path: xnorlit/packed/memory.py says why.
  int64_t float_bytes() const;
  int64_t double_bytes() const;
  int64_t sign_bytes(int planes) const;
  int64_t bit_bytes(int planes) const;
  // Refuses weights that take far more in memory than what was given for them.
  void check_growth(int64_t bytes, int64_t given) const;

  Shape input;
  Window window;
  int groups, outputs;
};

// The ending's own settings; the sizes of its arrays are checked when its layer is known.
EndingSettings bits_ending(const std::vector<int>& pool, bool per_position, int planes, int levels,
                           std::vector<int32_t> thresholds, std::vector<float> real_thresholds,
                           std::vector<uint8_t> flips, std::vector<uint8_t> changes);
MaxPool pool_of(const std::vector<int>& values);

// Refuses an ending that does not fit its layer; `integers` says which thresholds its sums need.
void check_ending(const EndingSettings& ending, const Frame& frame, bool integers);

BinarySettings binary_settings(const Frame& frame, const Bytes& weights, int bits, bool signed_inputs, bool scaled,
                               const std::vector<int>& factors, int divisor, bool ones, const EndingSettings& ending);

}  // namespace xnorlit
