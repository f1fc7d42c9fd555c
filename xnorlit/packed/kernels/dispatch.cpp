// Which instruction sets this processor can run.
#include <stdexcept>

#include "isa.h"

namespace xnorlit {
namespace {

#if defined(__x86_64__)
// The compiler's checks include whether the operating system saves the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq") &&
         __builtin_cpu_supports("avx512vnni");
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
#endif

}  // namespace

// conv3 of AlexNet: a window of 3 x 3 over 256 channels, as many positions and channels as a tile takes.
int64_t spin_tile(const Isa& isa, int64_t rounds) {
  constexpr int kWords = 8, kRun = 3 * kWords, kRows = 3, kColumns = 16;
  const int bytes_per_word = isa.operand_bytes_per_word ? isa.operand_bytes_per_word : 4;
  std::vector<uint8_t> operand(static_cast<size_t>(kRows) * kColumns * kWords * bytes_per_word);
  std::vector<uint8_t> weights(static_cast<size_t>(isa.blocks) * isa.block_bytes(kRows * kRun));
  alignas(64) int32_t mismatches[kMaxUnits * 2 * kTileChannels];
  BitTile tile = {};
  for (int u = 0; u < isa.units; ++u) tile.inputs[u] = operand.data() + u * isa.pair * kWords * bytes_per_word;
  tile.units = isa.units;
  tile.rows = kRows;
  tile.row_bytes = kColumns * kWords * bytes_per_word;
  tile.run = kRun;
  for (int b = 0; b < isa.blocks; ++b) tile.weights[b] = weights.data() + b * isa.block_bytes(kRows * kRun);
  tile.blocks = isa.blocks;
  tile.paired = isa.pair > 1;
  tile.mismatches = mismatches;
  for (int64_t round = 0; round < rounds; ++round) isa.count(tile);
  return rounds * isa.units * isa.pair * isa.blocks * isa.lanes * kRows * kRun * 32;
}

std::vector<const Isa*> runnable_isas() {
  std::vector<const Isa*> found;
  if (avx512_isa() && has_avx512()) found.push_back(avx512_isa());
  if (avx2_isa() && has_avx2()) found.push_back(avx2_isa());
  if (neon_isa()) found.push_back(neon_isa());  // part of every 64-bit Arm processor
  if (wasm_isa()) found.push_back(wasm_isa());  // or its browser would not have taken the library
  found.push_back(portable_isa());
  return found;
}

const Isa& isa_named(const std::string& name) {
  const auto isas = runnable_isas();
  if (name.empty()) return *isas.front();
  std::string known;
  for (const Isa* isa : isas) {
    if (name == isa->name) return *isa;
    known += (known.empty() ? "" : ", ") + std::string(isa->name);
  }
  throw std::invalid_argument("no kernels \"" + name + "\" on this processor, which runs: " + known);
}

}  // namespace xnorlit
