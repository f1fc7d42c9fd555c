// Bounds on the memory of a layer on any kernels, computed from its shapes before anything is allocated.
#pragma once

#include "document.h"

namespace xnorlit {

constexpr int64_t kAlignmentBytes = 64;

// At most so many bytes become of a layer's weights while it loads.
int64_t loaded_bytes(const LayerPart& layer, const Shape& at);
// One image's map in front of a layer, with the border that it wants around bits.
int64_t input_bytes(const LayerPart& layer, const Shape& at);
int64_t scratch_bytes(const LayerPart& layer, const Shape& at);
// What the sums of signs in a layer's windows take.
int64_t tail_scratch_bytes(const LayerPart& layer, const Shape& at);

}  // namespace xnorlit
