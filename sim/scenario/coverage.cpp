#include "scenario/coverage.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/error.hpp"
#include "ops/equal_sequences.hpp"

namespace orrery {

namespace {

constexpr double kBinsPerOctave = 4;

std::size_t dims_of(const KernelClass& cls) {
  return static_cast<std::size_t>(std::find(cls.dims.begin(), cls.dims.end(), "") - cls.dims.begin());
}

std::int16_t bin(double x) {
  return x > 0 ? static_cast<std::int16_t>(std::floor(kBinsPerOctave * std::log2(x))) : std::int16_t{-1};
}

std::string formats(const ShapeCell& cell) {
  std::string out(name(cell.dtype));
  if (cell.weight_dtype != cell.dtype) out.append(" x ").append(name(cell.weight_dtype));
  return out;
}

/// Measured cells last, then by what is not known about them; ties by what they are, never by address.
bool more_wanted(const ShapeCell& a, const ShapeCell& b) {
  const auto rank = [](const ShapeCell& c) {
    return std::tuple(c.provenance == Provenance::measured, -c.seconds * c.error, c.cls->name, c.dtype,
                      c.weight_dtype, c.shape);
  };
  return rank(a) < rank(b);
}

/// The value of `edge` (a cell's low or high bound in dimension d) below which `share` of the time lies.
double quantile_by_time(const std::vector<const ShapeCell*>& cells, KernelClass::Dims ShapeCell::*edge,
                        std::size_t d, double share) {
  std::vector<std::pair<double, double>> times;
  double left = 0;
  for (const ShapeCell* cell : cells) {
    times.emplace_back((cell->*edge)[d], cell->seconds);
    left += share * cell->seconds;
  }
  std::sort(times.begin(), times.end());
  for (const auto& [value, seconds] : times) {
    left -= seconds;
    if (left <= 0) return value;
  }
  return times.back().first;
}

ClassCoverage cover(const std::vector<const ShapeCell*>& cells, const KernelCostModel& cost) {
  ClassCoverage out;
  out.cls = cells.front()->cls;
  std::map<std::string, const ShapeCell*> heaviest;  // by formats
  for (const ShapeCell* cell : cells) {
    out.seconds += cell->seconds;
    out.by_provenance[static_cast<std::size_t>(cell->provenance)] += cell->seconds;
    out.error += cell->seconds * cell->error;
    const auto [at, fresh] = heaviest.try_emplace(formats(*cell), cell);
    if (!fresh && cell->seconds > at->second->seconds) at->second = cell;
  }
  if (out.seconds > 0) out.error /= out.seconds;
  for (std::size_t d = 0; d < dims_of(*out.cls); ++d) {
    out.needed.push_back({out.cls->dims[d], quantile_by_time(cells, &ShapeCell::low, d, 0.01),
                          quantile_by_time(cells, &ShapeCell::high, d, 0.99)});
  }
  for (const auto& [formats, cell] : heaviest) {
    out.formats.push_back(formats);
    for (auto& range : cost.ranges(make_call(*cell->cls, cell->shape, cell->dtype, cell->weight_dtype)))
      out.ranges.push_back(std::move(range));
  }
  return out;
}

}  // namespace

std::vector<ShapeCell> Coverage::wanted(std::size_t n) const {
  std::vector<ShapeCell> out;
  for (const ShapeCell& cell : cells) {
    if (out.size() == n || cell.provenance == Provenance::measured) break;
    out.push_back(cell);
  }
  return out;
}

void ShapeHistogram::add(const KernelCall& call, Provenance provenance, double seconds) {
  if (seconds <= 0) return;
  Key key{call.cls, call.dtype, call.weight_dtype, provenance, {}};
  std::transform(call.dims.begin(), call.dims.end(), key.bins.begin(), bin);
  const auto [at, fresh] = cells_.try_emplace(key);
  Cell& cell = at->second;
  ShapeCell& sum = cell.sum;
  if (fresh) {
    sum.cls = call.cls, sum.dtype = call.dtype, sum.weight_dtype = call.weight_dtype;
    sum.provenance = provenance;
    sum.shape = sum.low = sum.high = call.dims;
  }
  sum.seconds += seconds;
  for (std::size_t d = 0; d < call.dims.size(); ++d) {
    sum.low[d] = std::min(sum.low[d], call.dims[d]);
    sum.high[d] = std::max(sum.high[d], call.dims[d]);
  }
  if (sum.shape == call.dims) {
    cell.lead += seconds;
  } else if (cell.lead >= seconds) {
    cell.lead -= seconds;
  } else {
    sum.shape = call.dims;
    cell.lead = seconds - cell.lead;
  }
}

Coverage ShapeHistogram::coverage(const KernelCostModel& cost) const {
  Coverage out;
  for (const auto& [key, cell] : cells_) {
    out.cells.push_back(cell.sum);
    out.cells.back().error = cost.error(*key.cls, key.provenance).log_sigma;
  }
  std::sort(out.cells.begin(), out.cells.end(), more_wanted);
  std::map<std::string_view, std::vector<const ShapeCell*>> by_class;
  for (const ShapeCell& cell : out.cells) by_class[cell.cls->name].push_back(&cell);
  for (const auto& [name, cells] : by_class) out.classes.push_back(cover(cells, cost));
  std::stable_sort(out.classes.begin(), out.classes.end(),
                   [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  for (const ClassCoverage& c : out.classes) {
    out.kernel_seconds += c.seconds;
    for (std::size_t p = 0; p < c.by_provenance.size(); ++p) out.by_provenance[p] += c.by_provenance[p];
  }
  return out;
}

CoverageRecorder::CoverageRecorder(std::shared_ptr<const StepPricer> pricer)
    : pricer_(std::move(pricer)),
      kernels_(pricer_->model(), pricer_->shard(), pricer_->plan(),
               KernelCostModelPtr(pricer_, &pricer_->cost())),
      caps_(pricer_->model().caps()),
      grid_(pricer_->model().max_model_len + pricer_->model().max_model_len / 5) {}

void CoverageRecorder::on_decode_run(const DecodeRun& run) {
  const auto steps = static_cast<double>(run.steps);
  count_tokens(run.seqs, false, steps);
  count_rows(run.seqs, steps);
  count_context(run.seqs, run.context, run.steps);
  step_seconds_ += to_seconds(run.duration()).value;
  steps_ += run.steps;
}

void CoverageRecorder::on_mixed_step(const MixedStep& step) {
  count_tokens(step.decode_seqs + step.prefill_tokens, true, 1);
  count_rows(step.decode_seqs + static_cast<std::int64_t>(step.chunks.size()), 1);
  if (step.decode_seqs > 0) count_context(step.decode_seqs, step.context, 1);
  chunks_.windowed_context.resize(caps_.size());
  chunks_.chunks.clear();
  for (const ChunkEvent& chunk : step.chunks) chunks_.chunks.push_back({chunk.new_tokens, chunk.past});
  add(chunks_, KernelClass::Scaling::prefill, 1, prefill_);
  step_seconds_ += to_seconds(step.duration).value;
  ++steps_;
}

namespace {
void count(std::vector<double>& steps_by_number, std::int64_t number, double steps) {
  const auto i = static_cast<std::size_t>(number);
  if (i >= steps_by_number.size()) steps_by_number.resize(i + 1);
  steps_by_number[i] += steps;
}
}  // namespace

void CoverageRecorder::count_tokens(std::int64_t tokens, bool has_prefill, double steps) {
  const auto ends = TokenTable::ends(pricer_->plan().padded(tokens, has_prefill));
  count(tokens_, ends.low, steps * (1 - ends.weight));
  if (ends.weight > 0) count(tokens_, ends.high, steps * ends.weight);
}

void CoverageRecorder::count_rows(std::int64_t rows, double steps) {
  count(rows_, rows, steps);
}

/// The price is affine between two knots, so each step counts for both by its distance; summed over the steps
/// of a run that lie between the same two.
void CoverageRecorder::count_context(std::int64_t seqs, Tokens context, std::int64_t steps) {
  const auto row = static_cast<std::size_t>(seqs);
  if (row >= decode_.size()) decode_.resize(row + 1);
  auto& knots = decode_[row];
  knots.resize(static_cast<std::size_t>(grid_.segments()) + 1);
  while (steps > 0) {
    const int k = grid_.segment(context / seqs);
    const Tokens low = seqs * grid_.knot(k), high = seqs * grid_.knot(k + 1);
    const bool last = k + 1 == grid_.segments();
    const std::int64_t here = last ? steps : std::min(steps, (high - context + seqs - 1) / seqs);
    const auto n = static_cast<double>(here);
    const double sum = n * static_cast<double>(context - low) + static_cast<double>(seqs) * n * (n - 1) / 2;
    const double up = sum / static_cast<double>(high - low);
    knots[static_cast<std::size_t>(k)] += n - up;
    knots[static_cast<std::size_t>(k) + 1] += up;
    context += here * seqs;
    steps -= here;
  }
}

BatchShape CoverageRecorder::decode_shape(std::int64_t seqs, Tokens mean_context) const {
  return equal_decodes(caps_, seqs, mean_context);
}

void CoverageRecorder::add(const BatchShape& shape, KernelClass::Scaling scaling, double steps,
                           ShapeHistogram& out) const {
  KernelCalls calls;
  kernels_.lower(shape, scaling, calls);
  for (const KernelCall& call : calls) {
    if (call.cls == nullptr) continue;
    const KernelTime time = kernels_.price(call);
    out.add(call, time.provenance, steps * time.time.value * call.repeat * kernels_.factor(call));
  }
}

Coverage CoverageRecorder::coverage() const {
  ShapeHistogram all = prefill_;
  for (std::size_t n = 0; n < tokens_.size(); ++n) {
    if (tokens_[n] <= 0) continue;
    BatchShape shape;
    shape.padded_tokens = static_cast<std::int64_t>(n);
    add(shape, KernelClass::Scaling::tokens, tokens_[n], all);
  }
  for (std::size_t n = 0; n < rows_.size(); ++n) {
    if (rows_[n] > 0) {
      add(decode_shape(static_cast<std::int64_t>(n), 1), KernelClass::Scaling::logits, rows_[n], all);
    }
  }
  for (std::size_t n = 0; n < decode_.size(); ++n) {
    for (std::size_t k = 0; k < decode_[n].size(); ++k) {
      if (decode_[n][k] <= 0) continue;
      add(decode_shape(static_cast<std::int64_t>(n), grid_.knot(static_cast<int>(k))),
          KernelClass::Scaling::decode, decode_[n][k], all);
    }
  }
  Coverage out = all.coverage(pricer_->cost());
  out.step_seconds = step_seconds_;
  out.steps = steps_;
  return out;
}

}  // namespace orrery
