#include "engine.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "clock.h"
#include "bounds.h"

namespace xnorlit {
namespace {

// Images that pass a layer before the next layer runs: enough for linear layers to read their weights rarely, few
// enough for what lies between two layers to stay in a cache.
constexpr int kImages = 32;
constexpr int kAlignment = 64;

uint8_t* aligned(uint8_t* memory) {
  return memory + (kAlignment - reinterpret_cast<uintptr_t>(memory) % kAlignment) % kAlignment;
}

std::unique_ptr<uint8_t[]> zeros(int64_t bytes) {
  return std::make_unique<uint8_t[]>(static_cast<size_t>(bytes) + kAlignment);
}

int64_t element_bytes(Value::Kind kind) { return kind == Value::kPixels ? 1 : 4; }

}  // namespace

void Engine::add(std::unique_ptr<Layer> layer) {
  if (layer->border_of_ones()) throw std::invalid_argument("a border of ones: in graphs only");
  if (!layers_.empty()) {
    const Value gives = output(), reads = layer->input();
    if (gives.kind != reads.kind || gives.shape.height != reads.shape.height ||
        gives.shape.width != reads.shape.width || gives.shape.channels != reads.shape.channels ||
        gives.planes != reads.planes)
      throw std::invalid_argument("a layer does not read what the layer before it gives");
  }
  layers_.push_back(std::move(layer));
  if (arena_bytes() > kLargestArena) {
    layers_.pop_back();
    throw std::invalid_argument("maps: more than 512 MiB for one image");
  }
  idle_.clear();  // they fit the shorter chain
}

BitMap Engine::map_behind(size_t layer) const {
  if (layer + 1 < layers_.size()) return layers_[layer + 1]->input_map();
  const Value value = layers_[layer]->output();
  return {value.shape, 0, 0, value.planes};
}

int64_t Engine::output_elements() const {
  return output().kind == Value::kBits ? map_behind(layers_.size() - 1).image_words() : output().shape.values();
}

std::unique_ptr<Engine::Arena> Engine::lend(int images) const {
  {
    std::lock_guard lock(mutex_);
    const auto fit =
        std::find_if(idle_.begin(), idle_.end(), [&](const auto& arena) { return arena->images >= images; });
    if (fit != idle_.end()) {
      auto arena = std::move(*fit);
      idle_.erase(fit);
      return arena;
    }
    if (!idle_.empty()) idle_.pop_back();  // too small; the new one takes its place
  }
  auto arena = std::make_unique<Arena>();
  arena->images = images;
  for (size_t i = 0; i + 1 < layers_.size(); ++i) arena->values.push_back(zeros(bytes_behind(i) * images));
  arena->scratch = zeros(scratch_bytes(images));
  return arena;
}

int64_t Engine::bytes_behind(size_t layer) const {
  const Value value = layers_[layer]->output();
  return 4 * (value.kind == Value::kBits ? map_behind(layer).image_words() : value.shape.values());
}

int64_t Engine::scratch_bytes(int images) const {
  int64_t bytes = 0;
  for (const auto& layer : layers_) bytes = std::max(bytes, layer->scratch_bytes(images));
  return bytes;
}

int64_t Engine::arena_bytes() const {
  int64_t bytes = scratch_bytes(1);
  for (size_t i = 0; i + 1 < layers_.size(); ++i) bytes += bytes_behind(i);
  return bytes;
}

void Engine::give_back(std::unique_ptr<Arena> arena) const {
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(arena));
}

void Engine::run(const void* in, void* out, int64_t images, int threads, double* seconds) const {
  if (images == 0) return;
  auto arena = lend(static_cast<int>(std::min<int64_t>(images, kImages)));
  const int64_t in_bytes = input().kind == Value::kBits ? layers_.front()->input_map().image_words() * 4
                                                        : input().shape.values() * element_bytes(input().kind);
  for (int64_t first = 0; first < images; first += kImages) {
    const int here = static_cast<int>(std::min<int64_t>(kImages, images - first));
    for (size_t i = 0; i < layers_.size(); ++i) {
      Call call;
      call.in = i == 0 ? static_cast<const uint8_t*>(in) + first * in_bytes : aligned(arena->values[i - 1].get());
      call.out = i + 1 == layers_.size() ? static_cast<uint8_t*>(out) + first * output_elements() * 4
                                         : aligned(arena->values[i].get());
      call.out_map = map_behind(i);
      call.images = here;
      call.threads = threads;
      call.scratch = aligned(arena->scratch.get());
      const Clock clock(seconds ? seconds + i : nullptr);
      layers_[i]->run(call);
    }
  }
  give_back(std::move(arena));
}

}  // namespace xnorlit
