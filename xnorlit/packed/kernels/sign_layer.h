// The sign that opens a binary layer behind reals.
#pragma once

#include "isa.h"
#include "layer.h"
#include "pool.h"

namespace xnorlit {

// Reals to signs, sign(0) = +1.
class SignLayer final : public Layer {
 public:
  SignLayer(const Isa& isa, const Shape& input) : isa_(isa), input_(input) {}

  Value input() const override { return {Value::kReals, input_}; }
  Value output() const override { return {Value::kBits, input_}; }
  int64_t scratch_bytes(int) const override { return 0; }
  int64_t resident_bytes() const override { return 0; }
  void run(const Call& call) const override {
    const auto* in = static_cast<const float*>(call.in);
    auto* out = static_cast<uint32_t*>(call.out);
    ThreadPool::instance().run(call.images * input_.height, call.threads, [&](int row) {
      const int image = row / input_.height, y = row % input_.height;
      for (int x = 0; x < input_.width; ++x)
        isa_.pack_signs(in + (int64_t{row} * input_.width + x) * input_.channels, input_.channels,
                        out + call.out_map.at(image, y, x));
    });
  }

 private:
  const Isa& isa_;
  Shape input_;
};

}  // namespace xnorlit
