// What the engine knows of a layer: what it reads, what it gives, and how to run it.
#pragma once

#include "map.h"

namespace xnorlit {

// A tensor between two layers, images outermost.
struct Value {
  enum Kind {
    kPixels,  // uint8 [height][width][channels]
    kReals,   // float [height][width][channels]
    kBits,    // planes of bits, see BitMap
    kSums,    // int32 [height][width][channels]
  };
  Kind kind;
  Shape shape;
  int planes = 1;
};

struct Call {
  const void* in;
  void* out;
  BitMap out_map;  // where the output is bits: with the border that its reader wants
  int images;
  int threads;
  uint8_t* scratch;  // scratch_bytes(images) of it, aligned for vectors, contents unknown
};

class Layer {
 public:
  virtual ~Layer() = default;
  virtual Value input() const = 0;
  virtual Value output() const = 0;
  // The border that the layer wants around an input of bits.
  virtual BitMap input_map() const { return {input().shape, 0, 0, input().planes}; }
  // Whether that border holds ones, in every bit of a channel.
  virtual bool border_of_ones() const { return false; }
  virtual int64_t scratch_bytes(int images) const = 0;
  // Bytes of weights, thresholds and tables that the layer keeps.
  virtual int64_t resident_bytes() const = 0;
  virtual void run(const Call& call) const = 0;
};

}  // namespace xnorlit
