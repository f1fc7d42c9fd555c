#include "tail.h"

#include <algorithm>
#include <stdexcept>

namespace xnorlit {

// Channels up to whole tiles, so that vectors may read on behind the last one; one number stays one.
Numbers Tail::whole(const Numbers& numbers) const {
  if (numbers.size() == 1 && map_.channels != 1) return numbers;
  const size_t channels = map_.channels, width = (channels + kTileChannels - 1) / kTileChannels * kTileChannels;
  const size_t rows = numbers.size() / channels;
  if (rows * channels != numbers.size()) throw std::invalid_argument("tail: not one number for each channel");
  Numbers out(rows * width);
  for (size_t row = 0; row < rows; ++row)
    std::copy_n(numbers.begin() + static_cast<ptrdiff_t>(row * channels), channels,
                out.begin() + static_cast<ptrdiff_t>(row * width));
  return out;
}

Tail::Entry& Tail::entry(TailOp::Kind kind, const Numbers& a, const Numbers& b) {
  auto made = std::make_unique<Entry>();
  made->op.kind = kind;
  if (!a.empty()) made->a = whole(a);
  if (!b.empty()) made->b = whole(b);
  made->op.a = made->a.data();
  made->op.b = made->b.data();
  made->op.one_a = made->a.size() == 1;
  made->op.one_b = made->b.size() == 1;
  entries_.push_back(std::move(made));
  return *entries_.back();
}

namespace {

void check_count(const Numbers& numbers, size_t count) {
  if (numbers.size() != count) throw std::invalid_argument("tail: not one number for each channel");
}

}  // namespace

void Tail::affine(const Numbers& scale, const Numbers& shift) {
  check_count(scale, map_.channels);
  check_count(shift, map_.channels);
  entry(TailOp::kAffine, scale, shift);
}

void Tail::shift(const Numbers& shift) {
  check_count(shift, map_.channels);
  entry(TailOp::kShift, shift, {});
}

void Tail::slopes(const Numbers& above, const Numbers& below) {
  if (above.size() != 1) check_count(above, map_.channels);
  if (below.size() != 1) check_count(below, map_.channels);
  entry(TailOp::kSlopes, above, below);
}

void Tail::clip(float low, float high) { entry(TailOp::kClip, {low}, {high}); }

void Tail::add(int value) { entry(TailOp::kAdd, {}, {}).value = value; }

void Tail::store(int value) { entry(TailOp::kStore, {}, {}).value = value; }

void Tail::sign(const Numbers& thresholds, const std::vector<uint8_t>& flips, int value) {
  check_count(thresholds, map_.channels);
  if (flips.size() != thresholds.size()) throw std::invalid_argument("tail: not one flip for each channel");
  Entry& made = entry(TailOp::kSign, thresholds, {});
  made.value = value;
  made.flips.resize(words_of(map_.channels));
  for (size_t c = 0; c < flips.size(); ++c) made.flips[c / 32] |= uint32_t{flips[c] != 0} << (c % 32);
  made.op.flips = made.flips.data();
}

void Tail::window(const Numbers& scale, const Numbers& window_scale, const Numbers& constant,
                  const std::vector<int>& row_ways, const std::vector<int>& column_ways) {
  if (!entries_.empty()) throw std::invalid_argument("tail: the sum of the window comes first");
  check_count(scale, map_.channels);
  check_count(window_scale, map_.channels);
  if (static_cast<int>(row_ways.size()) != map_.height || static_cast<int>(column_ways.size()) != map_.width)
    throw std::invalid_argument("tail: not one way for each row and column");
  const auto [least_row, most_row] = std::minmax_element(row_ways.begin(), row_ways.end());
  const auto [least_column, most_column] = std::minmax_element(column_ways.begin(), column_ways.end());
  if (*least_row < 0 || *most_row >= map_.height || *least_column < 0 || *most_column >= map_.width)
    throw std::invalid_argument("tail: an unknown way");
  const int ways = *most_column + 1;
  check_count(constant, static_cast<size_t>(*most_row + 1) * ways * map_.channels);
  Entry& made = entry(TailOp::kWindow, scale, window_scale);
  made.c = whole(constant);
  made.row_ways = row_ways;
  made.column_ways = column_ways;
  made.op.c = made.c.data();
  made.op.row_ways = made.row_ways.data();
  made.op.column_ways = made.column_ways.data();
  made.op.ways = ways;
  has_window_ = true;
}

bool Tail::has_bits() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& e) { return e->op.kind == TailOp::kSign; });
}

int64_t Tail::bytes() const {
  int64_t bytes = 0;
  for (const auto& e : entries_)
    bytes += 4 * static_cast<int64_t>(e->a.size() + e->b.size() + e->c.size() + e->flips.size() + e->row_ways.size() +
                                      e->column_ways.size());
  return bytes;
}

std::vector<Tail::Use> Tail::uses() const {
  std::vector<Use> found;
  for (const auto& e : entries_) {
    if (e->value < 0) continue;
    const bool sign = e->op.kind == TailOp::kSign;
    found.push_back({e->value, sign ? Value::kBits : Value::kReals, e->op.kind != TailOp::kAdd});
  }
  return found;
}

void Tail::place(int value, const BitMap& map) {
  for (const auto& e : entries_)
    if (e->value == value && e->op.kind == TailOp::kSign) e->op.map = map;
}

void Tail::ops(uint8_t* const* values, const int32_t* window_sums, std::vector<TailOp>& made) const {
  made.clear();
  for (const auto& e : entries_) {
    made.push_back(e->op);
    TailOp& op = made.back();
    if (e->value >= 0) op.data = values[e->value];
    if (op.kind == TailOp::kWindow) op.data = const_cast<int32_t*>(window_sums);
  }
}

}  // namespace xnorlit
