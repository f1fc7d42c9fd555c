// Which paths this processor can run.
#include <stdexcept>

#include "path.h"

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
int64_t spin_tile(const Path& path, int64_t rounds) {
  constexpr int kWords = 8, kRun = 3 * kWords, kRows = 3, kColumns = 16;
  const int bytes_per_word = path.operand_bytes_per_word ? path.operand_bytes_per_word : 4;
  std::vector<uint8_t> operand(static_cast<size_t>(kRows) * kColumns * kWords * bytes_per_word);
  std::vector<uint8_t> weights(static_cast<size_t>(path.blocks) * path.block_bytes(kRows * kRun));
  alignas(64) int32_t mismatches[kMaxUnits * 2 * kTileChannels];
  BitTile tile = {};
  for (int u = 0; u < path.units; ++u) tile.inputs[u] = operand.data() + u * path.pair * kWords * bytes_per_word;
  tile.units = path.units;
  tile.rows = kRows;
  tile.row_bytes = kColumns * kWords * bytes_per_word;
  tile.run = kRun;
  for (int b = 0; b < path.blocks; ++b) tile.weights[b] = weights.data() + b * path.block_bytes(kRows * kRun);
  tile.blocks = path.blocks;
  tile.paired = path.pair > 1;
  tile.mismatches = mismatches;
  for (int64_t round = 0; round < rounds; ++round) path.count(tile);
  return rounds * path.units * path.pair * path.blocks * path.lanes * kRows * kRun * 32;
}

std::vector<const Path*> runnable_paths() {
  std::vector<const Path*> found;
  if (avx512_path() && has_avx512()) found.push_back(avx512_path());
  if (avx2_path() && has_avx2()) found.push_back(avx2_path());
  if (neon_path()) found.push_back(neon_path());  // part of every 64-bit Arm processor
  found.push_back(portable_path());
  return found;
}

const Path& path_named(const std::string& name) {
  const auto paths = runnable_paths();
  if (name.empty()) return *paths.front();
  std::string known;
  for (const Path* path : paths) {
    if (name == path->name) return *path;
    known += (known.empty() ? "" : ", ") + std::string(path->name);
  }
  throw std::invalid_argument("no kernel path \"" + name + "\" on this processor, which runs: " + known);
}

}  // namespace xnorlit
