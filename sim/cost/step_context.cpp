#include "cost/step_context.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

ContextGrid::ContextGrid(Tokens longest) {
  for (int j = 0; knots_.size() < 2 || knots_.back() < longest; ++j) {
    const auto knot = static_cast<Tokens>(std::llround(std::exp2(j / 4.0)));
    if (knots_.empty() || knot > knots_.back()) knots_.push_back(knot);
  }
  ORRERY_CHECK(knots_.size() < 256, "knots are numbered in a byte");
  for (std::size_t width = 1; width <= 64; ++width) {
    for (std::uint64_t top = 0; top < 16; ++top) {
      const std::uint64_t lowest = width > 4 ? top << (width - 4) : top;
      if (static_cast<std::size_t>(std::bit_width(lowest)) != width) continue;
      int k = 0;
      while (k + 1 < segments() && static_cast<std::uint64_t>(knot(k + 1)) <= lowest) ++k;
      start_[width * 16 + top] = static_cast<std::uint8_t>(k);
    }
  }
}

DecodeTable::DecodeTable(const StepKernels& kernels, std::size_t windows, Tokens longest,
                         std::int64_t queries, std::int64_t pace_steps)
    : kernels_(&kernels), grid_(longest), queries_(queries), pace_steps_(pace_steps) {
  shape_.decode_queries = queries;
  ORRERY_CHECK(windows <= static_cast<std::size_t>(kMaxWindows),
               "a model with more attention windows than a decode set carries");
  find_groups(windows);
}

namespace {
bool same_shape(const KernelCall& a, const KernelCall& b) {
  return a.dims == b.dims && a.work.hbm_bytes() == b.work.hbm_bytes() && a.work.flops() == b.work.flops();
}
}  // namespace

void DecodeTable::find_groups(std::size_t windows) {
  // Which context a call reads is learnt by moving one context at a time.
  const auto lower = [&](std::size_t moved) {
    shape_.decode_seqs = 2;
    shape_.decode_context = moved == windows ? 4096 : 2048;
    shape_.windowed_context.assign(windows, 64);
    if (moved < windows) shape_.windowed_context[moved] = 128;
    KernelCalls calls;
    kernels_->lower(shape_, KernelClass::Scaling::decode, calls);
    return calls;
  };
  const KernelCalls still = lower(windows + 1);
  std::vector<int> window(still.size(), -1);
  std::vector<int> readings(still.size(), 0);
  for (std::size_t moved = 0; moved <= windows; ++moved) {
    const KernelCalls calls = lower(moved);
    for (std::size_t i = 0; i < still.size(); ++i) {
      if (same_shape(calls[i], still[i])) continue;
      ++readings[i];
      if (moved < windows) window[i] = static_cast<int>(moved);
    }
  }
  for (std::size_t i = 0; i < still.size(); ++i) {
    ORRERY_CHECK(readings[i] <= 1, "a decode kernel that reads more than one kind of context");
    ORRERY_CHECK(still[i].mark == Mark::none, "decode attention inside a fork is not compiled");
    auto group = std::find_if(groups_.begin(), groups_.end(),
                              [&](const Group& g) { return g.window == window[i] && g.cls == still[i].cls; });
    if (group == groups_.end()) group = groups_.insert(groups_.end(), Group{window[i], still[i].cls, {}, {}});
    group->calls.push_back(i);
  }
}

void DecodeTable::evaluate(const Group& group, std::int64_t seqs, int k, Knot& knot) {
  if (knot.base >= 0) return;
  shape_.decode_seqs = seqs;
  shape_.decode_context = seqs * grid_.knot(k);
  shape_.windowed_context.assign(shape_.windowed_context.size(), shape_.decode_context);
  calls_.clear();
  kernels_->lower(shape_, KernelClass::Scaling::decode, calls_);
  double seconds = 0;
  for (const std::size_t i : group.calls) {
    const KernelTime time = kernels_->price(calls_[i]);
    seconds += time.time.value * calls_[i].repeat * kernels_->factor(calls_[i]);
    knot.at = std::max(knot.at, time.provenance);
  }
  knot.base = std::llround(seconds * kPsPerSecond);
}

void DecodeTable::fill(const Group& group, std::int64_t seqs, int k, std::vector<Knot>& knots) {
  const auto i = static_cast<std::size_t>(k);
  evaluate(group, seqs, k, knots[i]);
  evaluate(group, seqs, k + 1, knots[i + 1]);
  const auto rise = static_cast<double>(knots[i + 1].base - knots[i].base);
  const std::int64_t parts = seqs * (grid_.knot(k + 1) - grid_.knot(k)) * pace_steps_;
  knots[i].slope = pace_steps_ * std::llround(rise / static_cast<double>(parts));
  knots[i].over = std::max(knots[i].at, knots[i + 1].at);
  knots[i].has_slope = true;
}

ContextPrice DecodeTable::price(std::size_t g, const DecodeSet& set) {
  const int w = groups_[g].window;
  const auto i = static_cast<std::size_t>(w);
  const TokenPace& pace = set.pace;
  const std::int64_t q = pace.steps;
  ORRERY_CHECK(q == 1 || pace_steps_ % q == 0, "a decode set of another pace than prices were compiled for");
  const auto per_part = [q](std::int64_t value) { return q == 1 ? value : value / q; };
  const std::int64_t growing = w < 0 ? set.seqs : set.growing[i];
  // The last of a sequence's queries reads the keys of those before it.
  const Tokens whole = w < 0 ? set.context + set.seqs * (queries_ - 1) : set.windowed[i];
  const std::int64_t x = whole * q + growing * pace.phase;  // in parts of a token
  const ContextPiece p = piece(g, set.seqs, per_part(x));
  const std::int64_t slope = per_part(p.slope), gain = growing * pace.tokens;
  ContextPrice price{p.base + slope * (x - p.start * q), slope * gain, kEndless, p.provenance};
  if (gain > 0 && p.end < kEndless) price.steps = (p.end * q - x + gain - 1) / gain;
  return price;
}

ContextPiece DecodeTable::piece(std::size_t g, std::int64_t seqs, Tokens context) {
  Group& group = groups_[g];
  const auto row = static_cast<std::size_t>(seqs);
  if (row >= group.knots.size()) group.knots.resize(row + 1);
  auto& knots = group.knots[row];
  if (knots.empty()) knots.resize(static_cast<std::size_t>(grid_.segments()) + 1);
  const int k = grid_.segment(context / seqs);
  const Knot& knot = knots[static_cast<std::size_t>(k)];
  if (!knot.has_slope) fill(group, seqs, k, knots);
  const Tokens end = k + 1 < grid_.segments() ? seqs * grid_.knot(k + 1) : kEndless;
  return {knot.base, knot.slope, seqs * grid_.knot(k), end, knot.over};
}

}  // namespace orrery
