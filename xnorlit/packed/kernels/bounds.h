// What a packed file may ask for, and the memory that it makes a process take:
//
// - its header, of at most 16 MiB, becomes a tree of JSON: at most 64 bytes per byte;
// - its tensors are read in place, and endings are copied meanwhile: at most 32 bytes per byte;
// - loaded weights: at most 16 bytes per byte, and 64 MiB for all layers together;
// - the first call with one image allocates its maps and the layers' scratch: at most 512 MiB, whatever the file.
//
// check.cpp computes the last two before anything is allocated (memory.h), and the engine checks them again.
#pragma once

#include <cstdint>

namespace xnorlit {

constexpr int kMostClasses = 1 << 20;  // and channels of a map
constexpr int kLargestSide = 4096;
constexpr int kMostLayers = 1000, kMostNodes = 4096;
constexpr int kMostInputs = 64;  // of a concatenation
constexpr int kMostPlanes = 16;
constexpr int kLargestFactor = 1 << 24;
constexpr int kMostLevels = 510;  // of 8-bit codes that fall and then rise
constexpr int kMostMaps = 8;      // affine maps of an ending
constexpr double kSteepest = 1e6, kFarthest = 1e30;

constexpr int64_t kLargestMap = 1 << 24;           // values of one image between two layers: 57 times AlexNet's largest
constexpr int64_t kMostGrowth = 16;                // bytes in memory per byte of weights
constexpr int64_t kSpareBytes = int64_t{1} << 26;  // additional bytes for all layers together
constexpr int64_t kLargestArena = int64_t{1} << 29;      // bytes for one image's maps and the scratch of a layer
constexpr int64_t kLargestSum = (int64_t{1} << 30) - 1;  // of a layer that counts bits; doubled, it fits 31 bits
// Sums of products of a level of 255 and a weight of -128 stay within 31 bits.
constexpr int64_t kMostByteProducts = ((int64_t{1} << 31) - 1) / (255 * 128);

}  // namespace xnorlit
