// The steps of a graph: layers, tails by themselves and behind binary layers, pools, and what moves channels.
#pragma once

#include <memory>
#include <vector>

#include "binary_layer.h"
#include "graph.h"

namespace xnorlit {

class LayerStep final : public Step {
 public:
  LayerStep(std::unique_ptr<Layer> layer, int in, int out, const BitMap& out_map)
      : layer_(std::move(layer)), in_(in), out_(out), out_map_(out_map) {}

  int64_t scratch_bytes(int images) const override { return layer_->scratch_bytes(images); }
  int64_t resident_bytes() const override { return layer_->resident_bytes(); }
  void run(const StepCall& call) const override {
    layer_->run({call.values[in_], call.values[out_], out_map_, call.images, call.threads, call.scratch});
  }

 private:
  std::unique_ptr<Layer> layer_;
  int in_, out_;
  BitMap out_map_;
};

// A binary layer whose sums go through a tail where they arise.
class BinaryTailStep final : public Step {
 public:
  BinaryTailStep(std::unique_ptr<BinaryLayer> layer, int in, std::unique_ptr<Tail> tail)
      : layer_(std::move(layer)), in_(in), tail_(std::move(tail)) {}

  int64_t scratch_bytes(int images) const override { return layer_->tail_scratch_bytes(*tail_, images); }
  int64_t resident_bytes() const override { return layer_->resident_bytes() + tail_->bytes(); }
  size_t ops() const override { return tail_->count(); }
  void run(const StepCall& call) const override {
    layer_->run_tail({call.values[in_], nullptr, {}, call.images, call.threads, call.scratch}, *tail_, call.values,
                     *call.ops);
  }

 private:
  std::unique_ptr<BinaryLayer> layer_;
  int in_;
  std::unique_ptr<Tail> tail_;
};

class TailStep final : public Step {
 public:
  TailStep(const Isa& isa, int in, std::unique_ptr<Tail> tail) : isa_(isa), in_(in), tail_(std::move(tail)) {}

  int64_t scratch_bytes(int) const override { return 0; }
  int64_t resident_bytes() const override { return tail_->bytes(); }
  size_t ops() const override { return tail_->count(); }
  void run(const StepCall& call) const override;

 private:
  const Isa& isa_;
  int in_;
  std::unique_ptr<Tail> tail_;
};

// The steps that keep nothing.
class PlainStep : public Step {
 public:
  int64_t scratch_bytes(int) const override { return 0; }
  int64_t resident_bytes() const override { return 0; }
};

// The largest of each window, or its sum over the window's size.
class PoolStep final : public PlainStep {
 public:
  PoolStep(const Isa& isa, int in, int out, const Shape& map, const MaxPool& pool, bool average)
      : isa_(isa), in_(in), out_(out), map_(map), pool_(pool), average_(average) {}
  void run(const StepCall& call) const override;

 private:
  const Isa& isa_;
  int in_, out_;
  Shape map_;
  MaxPool pool_;
  bool average_;
};

// The OR of each window's signs.
class BitPoolStep final : public PlainStep {
 public:
  BitPoolStep(int in, int out, const BitMap& in_map, const BitMap& out_map, const MaxPool& pool)
      : in_(in), out_(out), in_map_(in_map), out_map_(out_map), pool_(pool), flips_(in_map.words()) {}
  void run(const StepCall& call) const override;

 private:
  int in_, out_;
  BitMap in_map_, out_map_;
  MaxPool pool_;
  std::vector<uint32_t> flips_;  // none
};

class CopyBitsStep final : public PlainStep {
 public:
  CopyBitsStep(int in, int out, const BitMap& in_map, const BitMap& out_map)
      : in_(in), out_(out), in_map_(in_map), out_map_(out_map) {}
  void run(const StepCall& call) const override;

 private:
  int in_, out_;
  BitMap in_map_, out_map_;
};

class GlobalAverageStep final : public PlainStep {
 public:
  GlobalAverageStep(int in, int out, const Shape& map) : in_(in), out_(out), map_(map) {}
  void run(const StepCall& call) const override;

 private:
  int in_, out_;
  Shape map_;
};

// Every stride-th position of several maps, each map's channels from a channel of the result on; what no map has is 0.
class MoveStep final : public PlainStep {
 public:
  struct Part {
    int in, channels, first;
  };
  MoveStep(std::vector<Part> parts, int out, const Shape& in_map, int stride, const Shape& out_map)
      : parts_(std::move(parts)), out_(out), in_map_(in_map), out_map_(out_map), stride_(stride) {}
  void run(const StepCall& call) const override;

 private:
  std::vector<Part> parts_;
  int out_;
  Shape in_map_, out_map_;
  int stride_;
};

}  // namespace xnorlit
