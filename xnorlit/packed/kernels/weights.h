// Memory that weights are read from.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace xnorlit {

// Begins with a cache line, so that no vector of weights lies across two. Weights of some megabytes are asked for in
// large pages, whose addresses a processor keeps at hand for all of them.
template <typename Number>
struct WeightMemory {
  using value_type = Number;
  static constexpr std::size_t kLine = 64, kLargePage = std::size_t{1} << 21;

  WeightMemory() = default;
  template <typename Other>
  WeightMemory(const WeightMemory<Other>&) {}  // NOLINT: implicit, as an allocator's has to be

  Number* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(Number), align = bytes < kLargePage ? kLine : kLargePage;
    if (bytes / sizeof(Number) != count || bytes > PTRDIFF_MAX - align) throw std::bad_alloc();
    void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align);
    if (!memory) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Of the last page a part would be empty. A system that has no large pages says so, and goes on with small ones.
    if (align == kLargePage) (void)madvise(memory, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
    return static_cast<Number*>(memory);
  }
  void deallocate(Number* memory, std::size_t) { std::free(memory); }

  template <typename Other>
  bool operator==(const WeightMemory<Other>&) const {
    return true;
  }
};

template <typename Number>
using Weights = std::vector<Number, WeightMemory<Number>>;

}  // namespace xnorlit
