// What a chain and a graph have in common: an instruction set, and layers that are added one by one.
#pragma once

#include <memory>
#include <string>

#include "isa.h"
#include "layer.h"

namespace xnorlit {

class AnyEngine {
 public:
  virtual ~AnyEngine() = default;

  const Isa& isa() const { return isa_; }
  // Throws std::invalid_argument unless the layer fits those before it. Not while another thread runs.
  virtual void add(std::unique_ptr<Layer> layer) = 0;
  virtual int steps() const = 0;  // parts of a call that run one after the other
  // Bytes of weights, thresholds and tables that a step keeps.
  virtual int64_t step_bytes(int step) const = 0;
  int64_t resident_bytes() const {
    int64_t bytes = 0;
    for (int step = 0; step < steps(); ++step) bytes += step_bytes(step);
    return bytes;
  }
  // What a call with one image writes to: the maps between layers, and the scratch of one at a time.
  virtual int64_t arena_bytes() const = 0;
  // Allocates what a call with one image needs, so that no such call does unless another one is under way.
  virtual void prepare() const = 0;

 protected:
  // `isa` by name; empty for the fastest that the processor runs.
  explicit AnyEngine(const std::string& isa) : isa_(isa_named(isa)) {}

  const Isa& isa_;
};

}  // namespace xnorlit
