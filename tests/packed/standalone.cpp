// Runs layers from standard input on the kernels of one instruction set and writes their sums to standard output, for
// the tests that build the kernels otherwise than for Python. All numbers are 32 bits wide, weights bytes.
//
// A layer is read as: images, the map's extents, the window, groups, outputs, what it reads (0 signs of reals, 1 those
// times K, 2 codes as floats of planes, 3 reals), bits of a code, planes of weights, their factors and divisor.
#include <cstdio>
#include <memory>
#include <vector>

#include "binary_layer.h"
#include "engine.h"
#include "real_layer.h"
#include "sign_layer.h"

using namespace xnorlit;

template <typename Number>
bool read(std::vector<Number>& values) {
  return std::fread(values.data(), sizeof(Number), values.size(), stdin) == values.size();
}

// Codes of reals that are whole, by thresholds halfway between them: what a layer before would give.
std::unique_ptr<Layer> quantizer(const Isa& isa, const Shape& shape, int bits) {
  RealSettings settings;
  settings.input = {Value::kReals, shape};
  settings.groups = settings.outputs = shape.channels;
  const std::vector<float> ones(shape.channels, 1.0f);
  settings.weights = ones.data();
  EndingSettings& ending = settings.ending;
  ending.form = EndingSettings::kBits;
  ending.planes = bits;
  ending.levels = (1 << bits) - 1;
  ending.flips.assign(bits * shape.channels, 0);
  for (int level = 0; level < ending.levels; ++level) {
    ending.real_thresholds.insert(ending.real_thresholds.end(), shape.channels, level + 0.5f);
    for (int plane = 0; plane < bits; ++plane)
      ending.changes.insert(ending.changes.end(), shape.channels, (level ^ (level + 1)) >> plane & 1);
  }
  return std::make_unique<RealLayer>(isa, settings);
}

int main(int, char** arguments) {
  std::vector<int32_t> head(15);
  while (read(head)) {
    const int images = head[0], reads = head[12], bits = head[13];
    const Shape input = {head[1], head[2], head[3]};
    const Window window = {head[4], head[5], head[6], head[7], head[8], head[9]};
    const int groups = head[10], outputs = head[11];
    std::vector<int32_t> planes(head[14] + 1);  // factors, then the divisor
    std::vector<float> values(images * input.values());
    const int octets = (input.channels / groups + 7) / 8;
    std::vector<uint8_t> weights(int64_t{head[14]} * outputs * head[4] * head[5] * octets);
    if (!read(planes) || !read(values) || !read(weights)) return 1;
    const int divisor = planes.back();
    planes.pop_back();
    Engine engine(arguments[1]);
    if (reads == 3) {
      RealSettings settings;
      settings.input = {Value::kReals, input};
      settings.window = window;
      settings.groups = groups;
      settings.outputs = outputs;
      settings.planes = {weights.data(), {planes.begin(), planes.end()}, divisor};
      engine.add(std::make_unique<RealLayer>(engine.isa(), settings));
    } else {
      if (reads == 0) engine.add(std::make_unique<SignLayer>(engine.isa(), input));
      if (reads == 2) engine.add(quantizer(engine.isa(), input, bits));
      BinarySettings settings;
      settings.input = input;
      settings.window = window;
      settings.groups = groups;
      settings.outputs = outputs;
      settings.planes = {bits, reads != 2, {planes.begin(), planes.end()}, divisor};
      settings.weights = weights.data();
      settings.scaled = reads == 1;
      engine.add(std::make_unique<BinaryLayer>(engine.isa(), settings));
    }
    std::vector<int32_t> sums(images * engine.output_elements());  // or floats, as wide
    engine.run(values.data(), sums.data(), images, 2);
    if (std::fwrite(sums.data(), 4, sums.size(), stdout) != sums.size()) return 1;
  }
  return 0;
}
