#include "plan.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>

#include "memory.h"

namespace xnorlit {
namespace {

// The value that node i makes, and the node that makes a value.
int value_of(int node) { return node + 1; }
constexpr int kNobody = -1;

using Numbers = std::vector<int>;
using Bits = std::vector<uint64_t>;

bool bit(const Bits& bits, int at) { return bits[at / 64] >> (at % 64) & 1; }
void set(Bits& bits, int at) { bits[at / 64] |= uint64_t{1} << (at % 64); }

// What the tail of a stage may have.
enum class Takes { kNothing, kAffine, kAny };

Takes tail_of(const Node& node) {
  if (node.kind != Node::kLayer) return Takes::kNothing;
  if (hosts(node.layer)) return Takes::kAny;
  return maps(node.layer) ? Takes::kAffine : Takes::kNothing;
}

class Planner {
 public:
  Planner(const Document& document, const std::vector<Flow>& flows, bool fuse)
      : nodes_(document.nodes), flows_(flows), fuse_(fuse), made_in_(flows.size(), kNobody) {}

  Plan run() {
    gather();
    order();
    store();
    Plan plan;
    plan.arena_bytes = slots(plan.slots);
    int64_t scratch = 0;
    for (const Stage& stage : stages_) scratch = std::max(scratch, scratch_of(stage));
    plan.arena_bytes += scratch;
    plan.stages = std::move(stages_);
    return plan;
  }

 private:
  bool bits(int value) const { return flows_[value].form == Form::kSigns || flows_[value].form == Form::kCodes; }

  // The stages that make these values, and those that they wait for.
  Bits before(const Numbers& values) const {
    Bits found(words_);
    for (const int value : values) {
      const int at = made_in_[value];
      if (at == kNobody) continue;
      for (size_t w = 0; w < words_; ++w) found[w] |= waits_[at][w];
      set(found, at);
    }
    return found;
  }

  void add_direct(int at, const Numbers& values) {
    for (const int value : values)
      if (const int other = made_in_[value]; other != kNobody && other != at) direct_[at].push_back(other);
  }

  int begin(int head, const Numbers& reads, Takes takes, int end) {
    Stage stage;
    stage.head = head;
    for (const int value : reads) stage.reads.push_back({value});
    stages_.push_back(std::move(stage));
    const int at = static_cast<int>(stages_.size()) - 1;
    waits_.push_back(before(reads));
    direct_.emplace_back();
    add_direct(at, reads);
    takes_.push_back(takes);
    end_.push_back(takes == Takes::kNothing ? kNobody : end);
    return at;
  }

  // Stage `at` waits for what makes these values, and so do all that wait for it.
  void join(int at, const Numbers& values) {
    Bits more = before(values);
    more[at / 64] &= ~(uint64_t{1} << (at % 64));
    add_direct(at, values);
    bool news = false;
    for (size_t w = 0; w < words_; ++w) news |= (more[w] & ~waits_[at][w]) != 0;
    if (!news) return;
    for (size_t w = 0; w < words_; ++w) waits_[at][w] |= more[w];
    for (Bits& waited : waits_)
      if (bit(waited, at))
        for (size_t w = 0; w < words_; ++w) waited[w] |= waits_[at][w];
  }

  // Where an elementwise node runs: the stage and the value that it works on.
  std::pair<int, int> elementwise(const Node& node) {
    int at = kNobody, running = 0;
    const size_t count = node.reads.size();
    for (size_t i = 0; i < count && fuse_; ++i) {
      const int source = node.reads[i], other = node.reads[count - 1 - i], here = made_in_[source];
      if (here == kNobody || end_[here] != source) continue;
      // An ending leaves only the last value.
      if (takes_[here] == Takes::kAffine && (node.kind != Node::kAffine || readers_[source] > 1)) continue;
      if (made_in_[other] != here && bit(before({other}), here)) continue;  // it follows from this stage
      // A convolution's sums are in a register; of two, those that are made last.
      if (at == kNobody || std::pair(stages_[here].head >= 0, here) > std::pair(stages_[at].head >= 0, at)) {
        at = here;
        running = source;
      }
    }
    if (at == kNobody) {
      running = node.reads[0];
      at = begin(kNobody, {running}, Takes::kAny, running);
    }
    return {at, running};
  }

  void gather() {
    words_ = nodes_.size() / 64 + 1;
    readers_.resize(nodes_.size() + 1);
    for (const Node& node : nodes_)
      for (const int value : node.reads) ++readers_[value];
    for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
      const Node& node = nodes_[i];
      int at = kNobody;
      if (node.kind == Node::kSign) {
        const int source = node.reads[0];
        at = fuse_ ? made_in_[source] : kNobody;
        if (at == kNobody || takes_[at] != Takes::kAny) at = begin(kNobody, node.reads, Takes::kAny, source);
        stages_[at].tail.push_back(i);
      } else if (node.elementwise()) {
        int running = 0;
        std::tie(at, running) = elementwise(node);
        stages_[at].running[i] = running;
        stages_[at].tail.push_back(i);
        end_[at] = value_of(i);
        join(at, node.reads);
      } else {
        at = begin(i, node.reads, tail_of(node), value_of(i));
      }
      made_in_[value_of(i)] = at;
    }
  }

  // Each stage behind those that it reads from; of several that could be next, the one that was begun first.
  void order() {
    const int count = static_cast<int>(stages_.size());
    Numbers left(count);
    std::vector<Numbers> followers(count);
    for (int at = 0; at < count; ++at) {
      std::sort(direct_[at].begin(), direct_[at].end());
      direct_[at].erase(std::unique(direct_[at].begin(), direct_[at].end()), direct_[at].end());
      left[at] = static_cast<int>(direct_[at].size());
      for (const int other : direct_[at]) followers[other].push_back(at);
    }
    std::priority_queue<int, Numbers, std::greater<>> ready;
    for (int at = 0; at < count; ++at)
      if (left[at] == 0) ready.push(at);
    std::vector<Stage> ordered;
    while (!ready.empty()) {
      const int at = ready.top();
      ready.pop();
      ordered.push_back(std::move(stages_[at]));
      for (const int follower : followers[at])
        if (--left[follower] == 0) ready.push(follower);
    }
    stages_ = std::move(ordered);
    for (int number = 0; number < static_cast<int>(stages_.size()); ++number) {
      if (stages_[number].head >= 0) made_in_[value_of(stages_[number].head)] = number;
      for (const int node : stages_[number].tail) made_in_[value_of(node)] = number;
    }
  }

  struct Border {
    int pad_y = 0, pad_x = 0;
    bool ones = false;
    bool operator==(const Border&) const = default;
  };
  static Place place(int value, const Border& border) { return {value, border.pad_y, border.pad_x, border.ones}; }

  // What a node wants around bits; null where any border does.
  static std::optional<Border> wanted(const Node& node) {
    if (node.kind != Node::kLayer) return std::nullopt;
    const LayerPart& layer = node.layer;
    if (!layer.binary() || !layer.windowed) return Border{};
    const Window& window = layer.window;
    return Border{window.pad_y, window.pad_x, layer.ones && (window.pad_y > 0 || window.pad_x > 0)};
  }

  // What each stage reads and writes in memory, and with which borders bits lie there.
  void store() {
    std::vector<std::vector<Border>> borders(flows_.size());
    std::vector<bool> stored(flows_.size());
    const int last = value_of(static_cast<int>(nodes_.size()) - 1);
    stored[last] = true;
    for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
      const Node& node = nodes_[i];
      const int here = made_in_[value_of(i)];
      for (const int value : node.reads) {
        if (bits(value)) {
          const auto border = wanted(node);
          auto& known = borders[value];
          if (border && std::find(known.begin(), known.end(), *border) == known.end()) known.push_back(*border);
        }
        const auto running = stages_[here].running.find(i);
        const bool inside =
            made_in_[value] == here &&
            (node.kind == Node::kSign || (running != stages_[here].running.end() && running->second == value));
        // A value that is added to itself, or behind others to the one that runs, is read from memory too.
        if (!inside || std::count(node.reads.begin(), node.reads.end(), value) > 1) stored[value] = true;
      }
    }
    for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
      const int value = value_of(i);
      Stage& stage = stages_[made_in_[value]];
      if (bits(value)) {
        const auto& known = borders[value];
        const Place first = place(value, known.empty() ? Border{} : known[0]);
        stage.stored.push_back(first);
        for (size_t b = 1; b < known.size(); ++b) stage.copies.emplace_back(first, place(value, known[b]));
      } else if (stored[value]) {
        stage.stored.push_back({value});
      }
    }
    for (Stage& stage : stages_) {
      if (stage.head < 0) continue;
      const auto border = wanted(nodes_[stage.head]);
      for (Place& read : stage.reads) {
        if (!bits(read.value)) continue;
        const auto& known = borders[read.value];
        read = place(read.value, border ? *border : known.empty() ? Border{} : known[0]);
      }
    }
  }

  int64_t bytes(const Place& place) const {
    const Flow& flow = flows_[place.value];
    if (flow.form == Form::kReals) return 4 * flow.map.values();
    return 4 * BitMap{flow.map, place.pad_y, place.pad_x, flow.bits}.image_words();
  }

  // Reals share slots with reals, bits with bits of the same map and border.
  using Kind = std::tuple<int, int, int, int, int, int, bool>;
  Kind kind(const Place& place) const {
    const Flow& flow = flows_[place.value];
    if (flow.form == Form::kReals) return {};
    const Shape& map = flow.map;
    return {flow.bits, map.height, map.width, map.channels, place.pad_y, place.pad_x, place.ones};
  }

  // Slots by liveness; the bytes of all of them.
  int64_t slots(std::vector<std::pair<Place, int>>& found) const {
    std::map<Place, Place> root;  // a flattened value lies where the one does that it reads
    const auto of = [&](const Place& place) {
      const auto at = root.find(place);
      return at == root.end() ? place : at->second;
    };
    for (int i = 0; i < static_cast<int>(nodes_.size()); ++i)
      if (nodes_[i].kind == Node::kFlatten) root[{value_of(i)}] = of({nodes_[i].reads[0]});
    std::map<Place, size_t> known;
    std::vector<std::pair<Place, int>> last;  // the stage that needs it last, in the order in which they are met
    const auto need = [&](const Place& given, int number) {
      const Place place = of(given);
      const auto [at, fresh] = known.emplace(place, last.size());
      if (fresh) last.emplace_back(place, number);
      last[at->second].second = number;
    };
    const int count = static_cast<int>(stages_.size());
    for (int number = 0; number < count; ++number) {
      const Stage& stage = stages_[number];
      for (const Place& place : stage.reads) need(place, number);
      for (const Place& place : stage.stored) need(place, number);
      for (const int node : stage.tail)
        for (const int value : nodes_[node].reads)
          if (flows_[value].form == Form::kReals) need({value}, number);
      for (const auto& [from, to] : stage.copies) {
        need(from, number);
        need(to, number);
      }
    }
    need({value_of(static_cast<int>(nodes_.size()) - 1)}, count);
    std::vector<std::vector<Place>> ends(count + 1);
    for (const auto& [place, number] : last) ends[number].push_back(place);

    std::map<Place, int> slot_of;
    std::vector<int64_t> sizes;
    std::map<Kind, Numbers> free;
    for (int number = 0; number < count; ++number) {
      const Stage& stage = stages_[number];
      const auto give = [&](const Place& place) {
        if (root.contains(place)) return;
        const int64_t size = bytes(place);
        Numbers& idle = free[kind(place)];
        int slot = static_cast<int>(sizes.size());
        if (idle.empty()) {
          sizes.push_back(size);
        } else {
          auto best = idle.end();  // the smallest that is large enough, else the largest
          for (auto at = idle.begin(); at != idle.end(); ++at)
            if (sizes[*at] >= size && (best == idle.end() || sizes[*at] < sizes[*best])) best = at;
          if (best == idle.end())
            best = std::max_element(idle.begin(), idle.end(), [&](int a, int b) { return sizes[a] < sizes[b]; });
          slot = *best;
          idle.erase(best);
          sizes[slot] = std::max(sizes[slot], size);
        }
        slot_of[place] = slot;
        found.emplace_back(place, slot);
      };
      for (const Place& place : stage.stored) give(place);
      for (const auto& copy : stage.copies) give(copy.second);
      for (const Place& place : ends[number])
        if (const auto at = slot_of.find(place); at != slot_of.end()) free[kind(place)].push_back(at->second);
    }
    int64_t all = 2 * kAlignmentBytes * static_cast<int64_t>(sizes.size());
    for (const int64_t size : sizes) all += size;
    return all;
  }

  int64_t scratch_of(const Stage& stage) const {
    if (stage.head < 0 || nodes_[stage.head].kind != Node::kLayer) return 0;
    const LayerPart& layer = nodes_[stage.head].layer;
    const Shape& at = flows_[stage.reads[0].value].map;
    return scratch_bytes(layer, at) + tail_scratch_bytes(layer, at);
  }

  const std::vector<Node>& nodes_;
  const std::vector<Flow>& flows_;
  bool fuse_;
  size_t words_ = 0;
  std::vector<Stage> stages_;
  std::vector<Numbers> direct_;  // the stages whose values each one reads
  std::vector<Bits> waits_;      // the stages that each one waits for, through others too
  Numbers readers_;              // how often each value is read
  std::vector<Takes> takes_;     // of each stage
  Numbers end_;                  // of a stage with a tail, the value that the next node would work on
  Numbers made_in_;              // of each value, the stage; of the image, nobody
};

}  // namespace

bool hosts(const LayerPart& layer) {
  const bool aligned = layer.groups == 1 || layer.outputs / layer.groups % 32 == 0;
  return layer.binary() && !layer.k && maps(layer) && aligned;
}

bool maps(const LayerPart& layer) { return layer.gives == Form::kReals && !layer.pool && !layer.per_position; }

Plan plan(const Document& document, const std::vector<Flow>& flows, bool fuse) {
  return Planner(document, flows, fuse).run();
}

}  // namespace xnorlit
