// Runs binary layers from standard input on one kernel path and writes their sums to standard output, for the tests that
// build the kernels otherwise than for Python. All numbers are 32 bits wide, weights bytes.
#include <cstdio>
#include <memory>
#include <vector>

#include "binary_layer.h"
#include "engine.h"
#include "sign_layer.h"

using namespace xnorlit;

template <typename Number>
bool read(std::vector<Number>& values) {
  return std::fread(values.data(), sizeof(Number), values.size(), stdin) == values.size();
}

int main(int, char** arguments) {
  std::vector<int32_t> head(12);
  while (read(head)) {
    BinarySettings settings;
    const int images = head[0];
    settings.input = {head[1], head[2], head[3]};
    settings.window = {head[4], head[5], head[6], head[7], head[8], head[9]};
    settings.groups = head[10];
    settings.outputs = head[11];
    std::vector<float> values(images * settings.input.values());
    const int octets = (settings.input.channels / settings.groups + 7) / 8;
    std::vector<uint8_t> weights(int64_t{settings.outputs} * head[4] * head[5] * octets);
    if (!read(values) || !read(weights)) return 1;
    settings.weights = weights.data();
    Engine engine(arguments[1]);
    engine.add(std::make_unique<SignLayer>(engine.path(), settings.input));
    engine.add(std::make_unique<BinaryLayer>(engine.path(), settings));
    std::vector<int32_t> sums(images * engine.output_elements());
    engine.run(values.data(), sums.data(), images, 2);
    if (std::fwrite(sums.data(), 4, sums.size(), stdout) != sums.size()) return 1;
  }
  return 0;
}
