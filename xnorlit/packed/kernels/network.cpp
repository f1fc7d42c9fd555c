#include "network.h"

#include "assembly.h"
#include "check.h"
#include "json.h"
#include "pool.h"

namespace xnorlit {

Network::Network(std::span<const uint8_t> file, const std::string& isa) {
  const TensorFile found = TensorFile::read(file);
  const auto text = found.metadata.find("xnorlit.packed");
  document_ = Document::parse(text == found.metadata.end() ? "null" : std::string_view(text->second));
  const Checked checked = check(document_, found.tensors);
  if (document_.chain) {
    chain_ = std::make_unique<Engine>(isa);
    assemble_chain(*chain_, document_, found.tensors, checked);
  } else {
    graph_ = std::make_unique<GraphEngine>(isa);
    logits_ = assemble_graph(*graph_, document_, found.tensors, checked);
  }
  document_.nodes.clear();
}

void Network::prepare(int threads) const {
  chain_ ? chain_->prepare() : graph_->prepare();
  ThreadPool::instance().run(threads, threads, [](int) {});
}

void Network::run(const uint8_t* pixels, float* logits, int64_t images, int threads) const {
  if (chain_) {
    chain_->run(pixels, logits, images, threads);
  } else {
    graph_->run(pixels, logits_, logits, images, threads);
  }
}

}  // namespace xnorlit
