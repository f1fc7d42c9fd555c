// A graph of steps that read and write numbered values, ready to run.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "any_engine.h"
#include "tail.h"

namespace xnorlit {

struct StepCall {
  uint8_t* const* values;  // the data of each value; the image's is not to be written
  int images;
  int threads;
  uint8_t* scratch;
  std::vector<TailOp>* ops;  // room for the operations of a step
};

class Step {
 public:
  virtual ~Step() = default;
  virtual int64_t scratch_bytes(int images) const = 0;
  virtual int64_t resident_bytes() const = 0;
  virtual size_t ops() const { return 0; }  // how many it needs room for
  virtual void run(const StepCall& call) const = 0;
};

// Values lie in slots, which values share that are never needed at once: whoever adds steps says so. A slot of bits has
// one map, border included, whose border is written once. A slot holds what its largest value takes.
class GraphEngine final : public AnyEngine {
 public:
  explicit GraphEngine(const std::string& isa) : AnyEngine(isa) {}

  // Numbers of values; the image, which is the first one added, is pixels without a slot. `slot` is an earlier one, or
  // the number of slots for a new one.
  int add_value(const Value& value, int pad_y, int pad_x, bool ones, int slot);
  int slots() const { return static_cast<int>(slots_.size()); }

  // The step of the layer that comes next: what it reads, and what it writes or the tail that takes its sums.
  void wire(int in, int out);
  void wire(int in, std::unique_ptr<Tail> tail);
  void add(std::unique_ptr<Layer> layer) override;

  // Each refuses values that do not fit.
  void add_tail(int in, std::unique_ptr<Tail> tail);
  void add_max_pool(int in, int out, const MaxPool& pool);
  void add_average_pool(int in, int out, const MaxPool& pool);
  void add_global_average(int in, int out);
  void add_subsample(int in, int out, int stride, int before);
  void add_concat(const std::vector<int>& in, int out);
  void add_copy(int in, int out);  // of bits, into another border
  // The reals of a value as the channels of one position: a value that lies where it does.
  int add_flat(int in);

  const Value& value(int number) const;
  bool written(int number) const { return value(number).kind == Value::kReals && values_[number].written; }
  int steps() const override { return static_cast<int>(steps_.size()); }
  int64_t step_bytes(int step) const override { return steps_[step]->resident_bytes(); }
  int64_t arena_bytes() const override { return slot_bytes() + scratch_bytes(1); }
  void prepare() const override { give_back(lend(1)); }

  // Reals of the value `output`, `[images][values]`. From several threads at once, if need be.
  // Adds what each step takes to `seconds`, unless null.
  void run(const uint8_t* pixels, int output, float* out, int64_t images, int threads, double* seconds = nullptr) const;

 private:
  struct Spot {
    Value value;
    BitMap map;
    int slot;
    bool written = false;
  };
  struct Slot {
    int64_t bytes = 0;  // of one image
    bool bits = false, ones = false;
    BitMap map;
  };
  struct Arena {
    int images = 0;
    std::vector<std::unique_ptr<uint8_t[]>> slots;
    std::unique_ptr<uint8_t[]> scratch;
    std::vector<uint8_t*> values;  // the data of each
    std::vector<TailOp> ops;
  };

  Spot& spot(int number);
  const Spot& readable(int number, Value::Kind kind);
  Spot& writable(int number, Value::Kind kind);
  void check_apart(int in, int out) const;
  void check_tail(Tail& tail, int in);
  void push(std::unique_ptr<Step> step);
  int64_t slot_bytes() const;
  int64_t scratch_bytes(int images) const;
  std::unique_ptr<Arena> lend(int images) const;
  void give_back(std::unique_ptr<Arena> arena) const;

  std::vector<Spot> values_;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<Step>> steps_;
  int in_ = -1, out_ = -1;
  std::unique_ptr<Tail> tail_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Arena>> idle_;
};

}  // namespace xnorlit
