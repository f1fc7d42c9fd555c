// What becomes of real values one by one behind a layer or a map: scales, shifts, sums of two maps, slopes, stores of
// reals and of bits, in one pass.
#pragma once

#include <memory>
#include <vector>

#include "isa.h"
#include "layer.h"

namespace xnorlit {

// A number per channel, or one for all.
using Numbers = std::vector<float>;

class Tail {
 public:
  // The map that every position of it belongs to.
  explicit Tail(const Shape& map) : map_(map) {}
  Tail(Tail&&) = default;
  Tail& operator=(Tail&&) = default;

  // Operations in the order in which they are to run. Values are numbers of the engine's.
  void affine(const Numbers& scale, const Numbers& shift);
  void shift(const Numbers& shift);
  void slopes(const Numbers& above, const Numbers& below);
  void clip(float low, float high);
  void add(int value);
  void store(int value);
  void sign(const Numbers& thresholds, const std::vector<uint8_t>& flips, int value);
  // x <- (x * scale + A * window_scale) + constant, A being a sum per position, made before the tail runs; `constant`
  // is [way of rows][way of columns][channel]. The first operation, if at all.
  void window(const Numbers& scale, const Numbers& window_scale, const Numbers& constant,
              const std::vector<int>& row_ways, const std::vector<int>& column_ways);

  const Shape& map() const { return map_; }
  bool has_window() const { return has_window_; }
  size_t count() const { return entries_.size(); }
  bool has_bits() const;
  int64_t bytes() const;

  struct Use {
    int value;
    Value::Kind kind;
    bool written;
  };
  std::vector<Use> uses() const;

  // Says where a value that is bits lies.
  void place(int value, const BitMap& map);
  // The operations of one call, into `made`. `values`: the data of each value; `window_sums`: of the window operation.
  void ops(uint8_t* const* values, const int32_t* window_sums, std::vector<TailOp>& made) const;

 private:
  struct Entry {
    TailOp op;
    int value = -1;
    std::vector<float> a, b, c;
    std::vector<uint32_t> flips;
    std::vector<int> row_ways, column_ways;
  };
  Entry& entry(TailOp::Kind kind, const Numbers& a, const Numbers& b);
  Numbers whole(const Numbers& numbers) const;

  Shape map_;
  bool has_window_ = false;
  std::vector<std::unique_ptr<Entry>> entries_;  // whose arrays the operations point at
};

}  // namespace xnorlit
