#include "graph.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "clock.h"
#include "bounds.h"
#include "steps.h"

namespace xnorlit {
namespace {

// Images that pass a step before the next one runs: few, for maps of reals are large.
constexpr int kImages = 8;
constexpr int kAlignment = 64;
constexpr int64_t kSlack = 64;  // bytes behind each slot

uint8_t* aligned(uint8_t* memory) {
  return memory + (kAlignment - reinterpret_cast<uintptr_t>(memory) % kAlignment) % kAlignment;
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

bool same(const Shape& one, const Shape& other) {
  return one.height == other.height && one.width == other.width && one.channels == other.channels;
}

bool same(const BitMap& one, const BitMap& other) {
  return same(one.shape, other.shape) && one.pad_y == other.pad_y && one.pad_x == other.pad_x &&
         one.planes == other.planes;
}

}  // namespace

int GraphEngine::add_value(const Value& value, int pad_y, int pad_x, bool ones, int slot) {
  const BitMap map = {value.shape, pad_y, pad_x, value.planes};
  if (values_.empty()) {
    require(value.kind == Value::kPixels && slot < 0, "the first value: pixels without a slot");
    values_.push_back({value, map, -1, true});
    return 0;
  }
  require(value.kind == Value::kReals || value.kind == Value::kBits, "a value: reals or bits");
  require(slot >= 0 && slot <= slots(), "a slot: an earlier one or a new one");
  const bool bits = value.kind == Value::kBits;
  const int64_t bytes = 4 * (bits ? map.image_words() : value.shape.values());
  require(bytes <= kLargestArena, "a value: more than 512 MiB for one image");
  const bool fresh = slot == slots();
  if (fresh) slots_.push_back({0, bits, ones, map});
  Slot& given = slots_[slot];
  if (!fresh)
    require(given.bits == bits && (!bits || (given.ones == ones && same(given.map, map))), "a slot of another kind");
  given.bytes = std::max(given.bytes, bytes);
  values_.push_back({value, map, slot});
  if (slot_bytes() > kLargestArena) throw std::invalid_argument("maps: more than 512 MiB for one image");
  idle_.clear();
  return static_cast<int>(values_.size()) - 1;
}

GraphEngine::Spot& GraphEngine::spot(int number) {
  require(number >= 0 && number < static_cast<int>(values_.size()), "a value that is not there");
  return values_[number];
}

const Value& GraphEngine::value(int number) const {
  require(number >= 0 && number < static_cast<int>(values_.size()), "a value that is not there");
  return values_[number].value;
}

const GraphEngine::Spot& GraphEngine::readable(int number, Value::Kind kind) {
  const Spot& found = spot(number);
  require(found.written, "a value is read before it is written");
  require(found.value.kind == kind, "a value of another kind");
  return found;
}

GraphEngine::Spot& GraphEngine::writable(int number, Value::Kind kind) {
  Spot& found = spot(number);
  require(found.slot >= 0 && found.value.kind == kind, "a value of another kind");
  return found;
}

void GraphEngine::check_apart(int in, int out) const {
  require(values_[in].slot != values_[out].slot, "a step writes where it reads");
}

void GraphEngine::wire(int in, int out) {
  spot(in);
  spot(out);
  in_ = in;
  out_ = out;
  tail_.reset();
}

void GraphEngine::wire(int in, std::unique_ptr<Tail> tail) {
  spot(in);
  in_ = in;
  out_ = -1;
  tail_ = std::move(tail);
}

// A tail reads what is written, by itself too, and writes neither where it reads nor twice.
void GraphEngine::check_tail(Tail& tail, int in) {
  const std::vector<Tail::Use> uses = tail.uses();
  for (const Tail::Use& use : uses) {
    Spot& found = use.written ? writable(use.value, use.kind) : spot(use.value);
    require(same(found.value.shape, tail.map()) && found.value.planes == 1, "a tail's values: of its map");
    if (use.written) {
      check_apart(in, use.value);
      tail.place(use.value, found.map);
      found.written = true;
    } else {
      readable(use.value, use.kind);
    }
  }
  for (const Tail::Use& read : uses)
    for (const Tail::Use& write : uses)
      if (!read.written && write.written && read.value != write.value) check_apart(read.value, write.value);
}

void GraphEngine::add(std::unique_ptr<Layer> layer) {
  require(in_ >= 0, "a layer without wires");
  const Value reads = layer->input();
  const Spot& in = readable(in_, reads.kind);
  require(same(reads.shape, in.value.shape) && reads.planes == in.value.planes, "a layer does not read its value");
  if (reads.kind == Value::kBits) {
    require(same(layer->input_map(), in.map), "a layer wants another border");
    const bool bordered = in.map.pad_y > 0 || in.map.pad_x > 0;
    require(!bordered || slots_[in.slot].ones == layer->border_of_ones(), "a layer wants other bits in its border");
  }
  if (tail_) {
    auto* binary = dynamic_cast<BinaryLayer*>(layer.get());
    require(binary && binary->takes(*tail_), "a tail that the layer does not take");
    check_tail(*tail_, in_);
    std::unique_ptr<BinaryLayer> owned(binary);
    layer.release();
    push(std::make_unique<BinaryTailStep>(std::move(owned), in_, std::move(tail_)));
  } else {
    const Value gives = layer->output();
    Spot& out = writable(out_, gives.kind);
    require(same(gives.shape, out.value.shape) && gives.planes == out.value.planes, "a layer does not give its value");
    check_apart(in_, out_);
    out.written = true;
    push(std::make_unique<LayerStep>(std::move(layer), in_, out_, out.map));
  }
  in_ = out_ = -1;
}

void GraphEngine::add_tail(int in, std::unique_ptr<Tail> tail) {
  require(same(readable(in, Value::kReals).value.shape, tail->map()), "a tail's values: of its map");
  require(!tail->has_window(), "a tail without a layer has no windows");
  check_tail(*tail, in);
  push(std::make_unique<TailStep>(isa_, in, std::move(tail)));
}

void GraphEngine::add_max_pool(int in, int out, const MaxPool& pool) {
  const Value::Kind kind = spot(in).value.kind;
  const Spot& from = readable(in, kind);
  Spot& to = writable(out, kind);
  const Shape& map = from.value.shape;
  require(pool.size <= std::min(map.height, map.width) + 2 * pool.pad, "pool: larger than its input");
  require(same(pool.over(map), to.value.shape) && from.value.planes == 1 && to.value.planes == 1, "pool: another map");
  check_apart(in, out);
  to.written = true;
  if (kind == Value::kBits) {
    push(std::make_unique<BitPoolStep>(in, out, from.map, to.map, pool));
  } else {
    push(std::make_unique<PoolStep>(isa_, in, out, map, pool, false));
  }
}

void GraphEngine::add_average_pool(int in, int out, const MaxPool& pool) {
  const Shape& map = readable(in, Value::kReals).value.shape;
  Spot& to = writable(out, Value::kReals);
  require(pool.size <= std::min(map.height, map.width) + 2 * pool.pad, "pool: larger than its input");
  require(same(pool.over(map), to.value.shape), "pool: another map");
  check_apart(in, out);
  to.written = true;
  push(std::make_unique<PoolStep>(isa_, in, out, map, pool, true));
}

void GraphEngine::add_global_average(int in, int out) {
  const Shape& map = readable(in, Value::kReals).value.shape;
  Spot& to = writable(out, Value::kReals);
  require(same({1, 1, map.channels}, to.value.shape), "average: another map");
  check_apart(in, out);
  to.written = true;
  push(std::make_unique<GlobalAverageStep>(in, out, map));
}

void GraphEngine::add_subsample(int in, int out, int stride, int before) {
  const Shape& map = readable(in, Value::kReals).value.shape;
  Spot& to = writable(out, Value::kReals);
  const Shape& made = to.value.shape;
  require(stride > 0 && before >= 0 && made.height == (map.height - 1) / stride + 1 &&
              made.width == (map.width - 1) / stride + 1 && before <= made.channels - map.channels,
          "subsample: another map");
  check_apart(in, out);
  to.written = true;
  push(std::make_unique<MoveStep>(std::vector<MoveStep::Part>{{in, map.channels, before}}, out, map, stride, made));
}

void GraphEngine::add_concat(const std::vector<int>& in, int out) {
  require(!in.empty(), "concat: no values");
  Spot& to = writable(out, Value::kReals);
  std::vector<MoveStep::Part> parts;
  int channels = 0;
  for (const int number : in) {
    const Shape& map = readable(number, Value::kReals).value.shape;
    require(map.height == to.value.shape.height && map.width == to.value.shape.width &&
                map.channels <= to.value.shape.channels - channels,
            "concat: another map");
    check_apart(number, out);
    parts.push_back({number, map.channels, channels});
    channels += map.channels;
  }
  require(channels == to.value.shape.channels, "concat: another map");
  to.written = true;
  push(std::make_unique<MoveStep>(std::move(parts), out, to.value.shape, 1, to.value.shape));
}

void GraphEngine::add_copy(int in, int out) {
  const Spot& from = readable(in, Value::kBits);
  Spot& to = writable(out, Value::kBits);
  require(same(from.value.shape, to.value.shape) && from.value.planes == to.value.planes, "copy: another map");
  check_apart(in, out);
  to.written = true;
  push(std::make_unique<CopyBitsStep>(in, out, from.map, to.map));
}

int GraphEngine::add_flat(int in) {
  const Spot from = readable(in, Value::kReals);
  const Shape& map = from.value.shape;
  require(map.values() <= std::numeric_limits<int>::max(), "flat: too many channels");
  const Shape flat = {1, 1, static_cast<int>(map.values())};
  values_.push_back({{Value::kReals, flat}, {flat}, from.slot, true});
  return static_cast<int>(values_.size()) - 1;
}

void GraphEngine::push(std::unique_ptr<Step> step) {
  steps_.push_back(std::move(step));
  if (arena_bytes() > kLargestArena) {
    steps_.pop_back();
    throw std::invalid_argument("maps: more than 512 MiB for one image");
  }
  idle_.clear();
}

int64_t GraphEngine::slot_bytes() const {
  int64_t bytes = 0;
  for (const Slot& slot : slots_) bytes += slot.bytes;
  return bytes;
}

int64_t GraphEngine::scratch_bytes(int images) const {
  int64_t bytes = 0;
  for (const auto& step : steps_) bytes = std::max(bytes, step->scratch_bytes(images));
  return bytes;
}

std::unique_ptr<GraphEngine::Arena> GraphEngine::lend(int images) const {
  {
    std::lock_guard lock(mutex_);
    const auto fit =
        std::find_if(idle_.begin(), idle_.end(), [&](const auto& arena) { return arena->images >= images; });
    if (fit != idle_.end()) {
      auto arena = std::move(*fit);
      idle_.erase(fit);
      return arena;
    }
    if (!idle_.empty()) idle_.pop_back();
  }
  auto arena = std::make_unique<Arena>();
  arena->images = images;
  for (const Slot& slot : slots_) {
    arena->slots.push_back(std::make_unique<uint8_t[]>(static_cast<size_t>(slot.bytes * images) + kAlignment + kSlack));
    if (!slot.ones) continue;
    auto* words = reinterpret_cast<uint32_t*>(aligned(arena->slots.back().get()));
    const int width = slot.map.words(), last = slot.map.shape.channels % 32;
    const int64_t count = slot.map.image_words() * images;
    for (int64_t w = 0; w < count; ++w) words[w] = last && w % width == width - 1 ? (1u << last) - 1 : ~0u;
  }
  for (const Spot& spot : values_)
    arena->values.push_back(spot.slot < 0 ? nullptr : aligned(arena->slots[spot.slot].get()));
  size_t ops = 0;
  for (const auto& step : steps_) ops = std::max(ops, step->ops());
  arena->ops.reserve(ops);
  arena->scratch = std::make_unique<uint8_t[]>(static_cast<size_t>(scratch_bytes(images)) + kAlignment + kSlack);
  return arena;
}

void GraphEngine::run(const uint8_t* pixels, int output, float* out, int64_t images, int threads,
                      double* seconds) const {
  if (images == 0) return;
  auto arena = lend(static_cast<int>(std::min<int64_t>(images, kImages)));
  std::vector<uint8_t*>& values = arena->values;
  const int64_t given = values_[0].value.shape.values(), made = values_[output].value.shape.values();
  for (int64_t first = 0; first < images; first += kImages) {
    const int here = static_cast<int>(std::min<int64_t>(kImages, images - first));
    values[0] = const_cast<uint8_t*>(pixels + first * given);
    for (size_t i = 0; i < steps_.size(); ++i) {
      const Clock clock(seconds ? seconds + i : nullptr);
      steps_[i]->run({values.data(), here, threads, aligned(arena->scratch.get()), &arena->ops});
    }
    std::memcpy(out + first * made, values[output], static_cast<size_t>(here * made) * 4);
  }
  give_back(std::move(arena));
}

void GraphEngine::give_back(std::unique_ptr<Arena> arena) const {
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(arena));
}

}  // namespace xnorlit
