// What an instruction set has to bring: a Isa is a table of functions, one table per instruction set.
//
// Every instruction set computes the same integers. Only its own translation unit is compiled with its instruction
// set's flags; the rest of the engine runs on any processor of the architecture and calls through the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "map.h"

namespace xnorlit {

constexpr int kMaxUnits = 4;
constexpr int kMaxBlocks = 6;
constexpr int kTileChannels = 64;  // the most output channels of a bit tile
constexpr int kTileWords = kTileChannels / 32;
constexpr int kFloatChannels = 96;  // the most output channels of a float tile

// Signs are bits, 1 for +1, in 32-bit words along the channels; a map is [image][row][column][word]. A window's row is
// then one run of consecutive words: kernel width times words per position.
//
// A tile counts the mismatches of a few positions with a few blocks of output channels. Zero padding is counted as -1
// here and put right by BitConv, which knows where the padding is.
struct BitTile {
  const uint8_t* inputs[kMaxUnits];  // the operand under the window's first row, one per unit of positions
  int units;
  int rows;                            // rows of the window
  ptrdiff_t row_bytes;                 // distance of two input rows in the operand
  int run;                             // words in a row of the window
  const uint8_t* weights[kMaxBlocks];  // equally far apart
  int blocks;
  bool paired;          // the operand was prepared for units of `Isa::pair` positions
  int32_t* mismatches;  // out: [unit][position of the unit][kTileChannels]
};

// The same for real numbers: sum over the window of input * weight, the weights being floats or signs.
struct RealTile {
  const float* inputs[kMaxUnits];
  int units;
  int rows;
  ptrdiff_t row_floats;
  int run;                             // floats in a row of the window
  const uint8_t* weights[kMaxBlocks];  // [float of the window][lane]: floats, or one bit each, 1 for +1
  int blocks;
  float* sums;  // out: [unit][kFloatChannels]
};

// And for bytes: a word holds 4 unsigned bytes of the input, or 2 of them in 16 bits each, and so do the weights,
// signed.
struct ByteTile {
  const uint8_t* inputs[kMaxUnits];
  int units;
  int rows;
  ptrdiff_t row_bytes;
  int run;                             // words in a row of the window
  const uint8_t* weights[kMaxBlocks];  // [word of the window][lane], 32 bits each
  int blocks;
  int32_t* sums;  // out: [unit][kFloatChannels]
};

// Real numbers again, products and sums in double, each sum rounded once at its end; every instruction set adds in the
// order of the window's rows. Products of floats are exact in double, so that it makes no difference whether an
// instruction set fuses them.
struct DoubleTile {
  const double* inputs[kMaxUnits];
  int units;
  int rows;
  ptrdiff_t row_doubles;
  int run;
  const double* weights[kMaxBlocks];  // [value of the window][lane]
  int blocks;
  float* sums;  // out: [unit][kFloatChannels]
};

// One operation on real values at some positions, of each channel by itself. Every multiplication and every addition
// rounds; arrays of one number per channel go on to a whole multiple of kTileChannels.
struct TailOp {
  enum Kind {
    kWindow,  // x <- (x * a + A * b) + c, A the number in `data` of a position, c of the way its window lies
    kAffine,  // x <- x * a, then + b
    kShift,   // x <- x + a
    kAdd,     // x <- x + data
    kSlopes,  // x <- x > 0 ? a * x : b * x; one_a, one_b: one number for all channels
    kClip,    // x <- min(max(x, a[0]), b[0])
    kStore,   // data <- x
    kSign,    // data <- (x >= a) xor flips, bits
  };
  Kind kind;
  const float* a = nullptr;
  const float* b = nullptr;
  const float* c = nullptr;  // [way of rows][way of columns][channel]
  bool one_a = false, one_b = false;
  const uint32_t* flips = nullptr;
  BitMap map = {};  // of bits
  const int* row_ways = nullptr;
  const int* column_ways = nullptr;
  int ways = 1;          // of columns
  void* data = nullptr;  // of the call
};

// How the sum at a position follows from what was counted there: (base - 2 * (count - padded)) >> shift, `padded` per
// channel, 0 where null.
struct SumStart {
  int32_t base;
  const int32_t* padded;
};

// Positions that follow each other in a row, and some of their channels.
struct TailTile {
  const float* values;     // of the whole map; or null, and then
  const int32_t* counts;   // [position][kTileChannels]
  const SumStart* starts;  // [position]
  int shift;
  int image, y, x, positions;
  int channel, channels;  // the first one, a multiple of 32 where bits are stored, and how many
  Shape map;
  int64_t at(int position) const {
    return (((int64_t{image} * map.height + y) * map.width) + x + position) * map.channels + channel;
  }
};

struct Isa {
  const char* name;

  // --- bits
  int lanes;   // output channels of one block of weights
  int blocks;  // blocks of a tile; lanes * blocks <= kTileChannels and a multiple of 32, a word of output bits
  int units;   // units of a tile
  int pair;    // positions of a unit when the layer has several positions in a row; else a unit is one position

  // Bytes of a map's operand per word of bits; 0: the bits themselves are the operand.
  int operand_bytes_per_word;
  // One row of the map, `words` long, to its operand. `partner` is the distance in words to the second position of a
  // pair, 0 for a layer without pairs.
  void (*prepare)(const uint32_t* row, int words, int partner, uint8_t* operand);
  // Channel rows [channels][words] to one block. Channels beyond `channels` weigh nothing that anybody reads.
  void (*pack_block)(const uint32_t* rows, int channels, int words, uint8_t* block);
  void (*count)(const BitTile& tile);
  // In place of mismatches: bit c of bits[position][c / 32] says whether those of channel c are at most
  // most[position][c], of which whole words are read; bits beyond the blocks mean nothing. Positions as in
  // `mismatches`, whose memory it may use.
  void (*count_bits)(const BitTile& tile, const int32_t* const* most, uint32_t (*bits)[kTileWords]);
  // dots[c] = base - 2 * mismatches[c] (+ 2 * padded[c] unless null), in place, for `channels`, a multiple of 16.
  void (*dots)(int32_t* mismatches, int32_t base, const int32_t* padded, int channels);
  // sums[c] += factor * addends[c], for `channels`.
  void (*add_times)(int32_t* sums, const int32_t* addends, int32_t factor, int channels);
  // Bit c of the result: values[c] >= threshold[c]; 32 of each.
  uint32_t (*at_least)(const int32_t* values, const int32_t* thresholds);
  uint32_t (*at_least_float)(const float* values, const float* thresholds);
  // Bit c of word w: values[32 w + c] >= 0. Bits beyond `count` are 0.
  void (*pack_signs)(const float* values, int count, uint32_t* words);

  // values[c] = max(values[c], others[c])
  void (*maximum)(int32_t* values, const int32_t* others, int count);
  void (*maximum_float)(float* values, const float* others, int count);
  // values[c] = max(y, 0) + slope * min(y, 0), y = values[c] * scale[c] + shift[c]; the slope of c is slopes[c], or the
  // only one where `one_slope`.
  void (*affine)(float* values, const float* scale, const float* shift, const float* slopes, bool one_slope, int count);
  // Sum of |values|.
  float (*magnitudes)(const float* values, int64_t count);

  // --- real numbers
  int float_lanes;
  int float_blocks;
  void (*convolve)(const RealTile& tile);
  int sign_lanes;  // output channels of a block of weights that are signs
  int sign_blocks;
  void (*convolve_signs)(const RealTile& tile);
  // out[i * out_stride + r] = sum_k rows[r * length + k] * inputs[i * length + k]
  void (*multiply)(const float* rows, int row_count, const float* inputs, int input_count, int64_t length, float* out,
                   int64_t out_stride);

  // --- real numbers summed in double, on as many lanes
  int double_blocks;
  void (*convolve_double)(const DoubleTile& tile);
  // One position of a convolution whose every channel sees only itself. `weights`: [tap][stride]; `row_doubles` from
  // one row of the window to the next, `stride` from one tap to the next in the input and in the weights.
  void (*convolve_depthwise)(const double* input, ptrdiff_t row_doubles, int rows, int taps, const double* weights,
                             int stride, int channels, float* sums);

  // --- the operations of graphs
  void (*tail)(const TailOp* ops, int count, const TailTile& tile);
  // values[c] += others[c]
  void (*add_floats)(float* values, const float* others, int count);

  // --- bytes, on as many lanes and blocks as real numbers
  int byte_width;  // of a value in the operands: 1 or 2 bytes
  void (*multiply_bytes)(const ByteTile& tile);

  // --- the machine's own limit, for the benchmark: the same instructions on registers alone; multiply-adds done
  int64_t (*spin_floats)(int64_t rounds);
  int64_t (*spin_bits)(int64_t rounds);

  int block_bytes(int words) const { return lanes * words * 4; }
};

// Null where the library was built for another architecture.
const Isa* portable_isa();
const Isa* avx2_isa();
const Isa* avx512_isa();
const Isa* neon_isa();
const Isa* wasm_isa();

// The inner kernel on a tile that stays in the first-level cache, `rounds` times; products done.
int64_t spin_tile(const Isa& isa, int64_t rounds);

// The instruction sets that this processor can run, fastest first.
std::vector<const Isa*> runnable_isas();
// The instruction set of that name, or the fastest when `name` is empty. Throws std::invalid_argument that lists what
// there is.
const Isa& isa_named(const std::string& name);

}  // namespace xnorlit
