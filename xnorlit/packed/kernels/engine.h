// A chain of layers, ready to run.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "any_engine.h"

namespace xnorlit {

class Engine final : public AnyEngine {
 public:
  explicit Engine(const std::string& isa) : AnyEngine(isa) {}

  void add(std::unique_ptr<Layer> layer) override;

  bool empty() const { return layers_.empty(); }
  Value input() const { return layers_.front()->input(); }
  Value output() const { return layers_.back()->output(); }
  int steps() const override { return static_cast<int>(layers_.size()); }
  int64_t step_bytes(int step) const override { return layers_[step]->resident_bytes(); }
  int64_t arena_bytes() const override;
  void prepare() const override { give_back(lend(1)); }
  // Words of one image's input, where that is bits.
  int64_t input_words() const { return layers_.front()->input_map().image_words(); }
  // Elements of one image's output: values, or 32-bit words of bits.
  int64_t output_elements() const;

  // Runs all layers on `images` images. From several threads at once, if need be. Adds what each layer takes to
  // `seconds`, unless null.
  void run(const void* in, void* out, int64_t images, int threads, double* seconds = nullptr) const;

 private:
  // What one call writes to: the values between layers, and scratch for one layer at a time. Borders are zero from the
  // start and stay so.
  struct Arena {
    int images = 0;
    std::vector<std::unique_ptr<uint8_t[]>> values;  // values[i] is what layer i + 1 reads
    std::unique_ptr<uint8_t[]> scratch;
  };

  std::unique_ptr<Arena> lend(int images) const;
  void give_back(std::unique_ptr<Arena> arena) const;
  BitMap map_behind(size_t layer) const;
  int64_t bytes_behind(size_t layer) const;
  int64_t scratch_bytes(int images) const;

  std::vector<std::unique_ptr<Layer>> layers_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Arena>> idle_;
};

}  // namespace xnorlit
