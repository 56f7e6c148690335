#include "cost/step_parts.hpp"

#include <cmath>
#include <string>

#include "cost/step_lanes.hpp"

namespace orrery {

void ClassAccount::add(const KernelClass& cls, Provenance provenance, double seconds) {
  for (Row& row : rows_) {
    if (row.cls == &cls) {
      row.seconds[static_cast<std::size_t>(provenance)] += seconds;
      return;
    }
  }
  rows_.push_back({&cls, {}});
  rows_.back().seconds[static_cast<std::size_t>(provenance)] = seconds;
}

void ClassAccount::add(const ClassAccount& other) {
  for (const Row& row : other.rows_) {
    for (std::size_t p = 0; p < row.seconds.size(); ++p) {
      if (row.seconds[p] != 0) add(*row.cls, static_cast<Provenance>(p), row.seconds[p]);
    }
  }
}

void ClassAccount::add_to(TimeShares& shares) const {
  for (const Row& row : rows_) {
    const std::string cls(row.cls->name);
    for (std::size_t p = 0; p < row.seconds.size(); ++p) {
      if (row.seconds[p] == 0) continue;
      shares.by_class[cls] += row.seconds[p];
      shares.by_provenance[p] += row.seconds[p];
      shares.by_class_provenance[{cls, static_cast<Provenance>(p)}] += row.seconds[p];
    }
  }
}

StepPart StepParts::evaluate(const BatchShape& batch, KernelClass::Scaling only) {
  calls_.clear();
  kernels_->lower(batch, only, calls_);
  return price_calls();
}

StepPart StepParts::evaluate_pooled(const BatchShape& batch) {
  calls_.clear();
  kernels_->lower_pooled(batch, calls_);
  return price_calls();
}

StepPart StepParts::price_calls() {
  StepPart part;
  part.first = static_cast<std::uint32_t>(shares_.size());
  LongestPath path;
  for (const KernelCall& call : calls_) {
    if (!call.cls) {
      path.add(call.mark, call.lane, 0);
      continue;
    }
    const KernelTime time = kernels_->price(call);
    const double seconds = time.time.value * call.repeat * kernels_->factor(call);
    path.add(call.mark, call.lane, seconds);
    std::size_t i = part.first;
    while (i < shares_.size() && (shares_[i].cls != call.cls || shares_[i].provenance != time.provenance))
      ++i;
    if (i == shares_.size()) shares_.push_back({call.cls, time.provenance, 0});
    shares_[i].seconds += seconds;
  }
  part.count = static_cast<std::uint32_t>(shares_.size()) - part.first;
  part.ps = std::llround(path.seconds() * kPsPerSecond);
  return part;
}

void StepParts::account(const StepPart& part, double times, ClassAccount& out) const {
  for (std::size_t i = part.first; i < part.first + part.count; ++i) {
    out.add(*shares_[i].cls, shares_[i].provenance, shares_[i].seconds * times);
  }
}

StepPart TokenTable::evaluate(std::int64_t tokens) {
  BatchShape shape;
  shape.padded_tokens = tokens;
  return pooled_ ? parts_->evaluate_pooled(shape) : parts_->evaluate(shape, KernelClass::Scaling::tokens);
}

TokenTable::Ends TokenTable::ends(std::int64_t tokens) {
  if (tokens <= kExact) return {tokens, tokens, 0};
  const std::int64_t low = tokens - (tokens - 1) % kSpan;
  return {low, low + kSpan - 1, static_cast<double>((tokens - 1) % kSpan) / (kSpan - 1)};
}

TokenTable::Span& TokenTable::span(std::int64_t tokens) {
  const auto index = static_cast<std::size_t>((tokens - kExact - 1) / kSpan);
  if (index >= spans_.size()) spans_.resize(index + 1);
  Span& span = spans_[index];
  if (span.low.ps < 0) {
    const Ends at = ends(tokens);
    span.low = evaluate(at.low);
    span.high = evaluate(at.high);
  }
  return span;
}

std::int64_t TokenTable::ps(std::int64_t tokens) {
  if (tokens > kExact) {
    const Span& s = span(tokens);
    return s.low.ps + (s.high.ps - s.low.ps) * ((tokens - 1) % kSpan) / (kSpan - 1);
  }
  const auto index = static_cast<std::size_t>(tokens);
  if (index >= exact_.size()) exact_.resize(index + 1);
  Exact& exact = exact_[index];
  if (exact.part.ps < 0) exact.part = evaluate(tokens);
  return exact.part.ps;
}

void TokenTable::count(std::int64_t tokens, double steps) {
  if (tokens > kExact) {
    Span& s = span(tokens);
    const double high = ends(tokens).weight;
    s.low_steps += steps * (1 - high);
    s.high_steps += steps * high;
    return;
  }
  ps(tokens);
  exact_[static_cast<std::size_t>(tokens)].steps += steps;
}

void TokenTable::account(ClassAccount& out) const {
  for (const Exact& e : exact_) {
    if (e.steps != 0) parts_->account(e.part, e.steps, out);
  }
  for (const Span& s : spans_) {
    if (s.low_steps != 0) parts_->account(s.low, s.low_steps, out);
    if (s.high_steps != 0) parts_->account(s.high, s.high_steps, out);
  }
}

std::int64_t RowTable::ps(std::int64_t rows) {
  const auto index = static_cast<std::size_t>(rows);
  if (index >= rows_.size()) rows_.resize(index + 1);
  Row& row = rows_[index];
  if (row.part.ps < 0) {
    shape_.decode_seqs = shape_.decode_context = rows;
    row.part = parts_->evaluate(shape_, KernelClass::Scaling::logits);
  }
  return row.part.ps;
}

void RowTable::count(std::int64_t rows, double steps) {
  ps(rows);
  rows_[static_cast<std::size_t>(rows)].steps += steps;
}

void RowTable::account(ClassAccount& out) const {
  for (const Row& row : rows_) {
    if (row.steps > 0) parts_->account(row.part, row.steps, out);
  }
}

}  // namespace orrery
