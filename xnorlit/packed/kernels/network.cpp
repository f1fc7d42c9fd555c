#include "network.h"

#include "assembly.h"
#include "check.h"
#include "pool.h"

namespace xnorlit {

Network::Network(std::span<const uint8_t> file, const std::string& isa) : Network(TensorFile::read(file), isa) {}

Network::Network(std::string_view description, const Tensors& tensors, const std::string& isa, bool fuse)
    : document_(Document::parse(description)) {
  const Checked checked = check(document_, tensors, fuse);
  if (document_.chain) {
    chain_ = std::make_unique<Engine>(isa);
    steps_ = assemble_chain(*chain_, document_, tensors, checked);
  } else {
    graph_ = std::make_unique<GraphEngine>(isa);
    steps_ = assemble_graph(*graph_, document_, tensors, checked, logits_);
  }
  document_.nodes.clear();
}

void Network::prepare(int threads) const {
  engine().prepare();
  ThreadPool::instance().run(threads, threads, [](int) {});
}

void Network::run(const uint8_t* pixels, float* logits, int64_t images, int threads, double* seconds) const {
  if (chain_) {
    chain_->run(pixels, logits, images, threads, seconds);
  } else {
    graph_->run(pixels, logits_, logits, images, threads, seconds);
  }
}

}  // namespace xnorlit
