#include "cost/kernel_forms.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

namespace {
double fourth_power(double x) {
  return (x * x) * (x * x);
}
double norm4(double a, double b) {
  return std::sqrt(std::sqrt(fourth_power(a) + fourth_power(b)));
}

constexpr double kStepK = 64, kMinSplitK = 128, kMaxSplits = 16;
constexpr double kQueryBlock = 128, kKeyBlock = 128, kPackedQueries = 64, kMaxKeySplits = 64;
}  // namespace

double GemmForm::seconds(double m, double n, double k, const GemmBytes& bytes) const {
  struct Tile {
    double rows, columns, efficiency;
  };
  const std::array<Tile, 4> tiles{{{64, 64, c[efficiency_64x64]},
                                   {64, 128, c[efficiency_64x128]},
                                   {128, 128, c[efficiency_128x128]},
                                   {128, 256, 1.0}}};
  const double memory_s = (bytes.weight * n * k + bytes.input * m * k + bytes.output * m * n) / c[memory];
  const double memory4 = fourth_power(memory_s);
  const double partial_s =
      m * n * 4 / c[memory];  // fp32 partial sums written and read: 2 transfers of 4 bytes, /2
  double best = 1e30;
  for (const Tile& t : tiles) {
    const double blocks = std::ceil(m / t.rows) * std::ceil(n / t.columns);
    const double step =
        std::max(2 * t.rows * t.columns * kStepK * sm_count / (c[tensor] * t.efficiency), c[step_latency]);
    for (double splits = 1; splits <= kMaxSplits; splits *= 2) {
      if (splits > 1 && k < splits * kMinSplitK) break;
      const double waves = std::ceil(blocks * splits / sm_count);
      const double compute = waves * (std::ceil(k / (splits * kStepK)) * step + c[tile]);
      const double extra = splits > 1 ? c[split] + partial_s * splits : 0.0;
      if (compute + extra >= best && memory_s + extra >= best) continue;
      best = std::min(best, std::sqrt(std::sqrt(fourth_power(compute) + memory4)) + extra);
    }
  }
  double total = c[launch] + best;
  if (c[quantise_rate] > 0) total += std::max(c[quantise_floor] * m, 3 * m * k / c[quantise_rate]);
  return total;
}

double PrefillShape::blocks() const {
  return heads * seqs * std::ceil(new_tokens / seqs / kQueryBlock);
}

std::array<double, 3> PrefillShape::log2_point() const {
  return {std::log2(2 * keys_per_query()), std::log2(blocks()), std::log2(group())};
}

double PrefillForm::seconds(const PrefillShape& s) const {
  const double d = std::clamp(s.head_dim, 64.0, 256.0);
  // Rates of head sizes in between: geometric interpolation.
  const double u = std::log2(d / 64);
  const double rate = u <= 1 ? c[tensor_64] * std::pow(c[tensor_128] / c[tensor_64], u)
                             : c[tensor_128] * std::pow(c[tensor_256] / c[tensor_128], u - 1);
  const double compute = 4 * s.heads * s.head_dim * (s.pairs + c[diagonal] * s.new_tokens) / rate;
  const double bytes = 4 * s.head_dim * (s.heads * s.new_tokens + s.kv_heads * s.kv_tokens);
  const double keys = std::min(s.max_kv, 2 * s.keys_per_query()) + kKeyBlock;
  const double longest_block = keys * kQueryBlock * s.head_dim * 4 * sm_count / rate * c[longest];
  const double waves = std::ceil(s.blocks() / sm_count);
  return c[launch] + norm4(norm4(compute, bytes / c[memory]), longest_block) + waves * c[block];
}

std::array<double, 3> DecodeShape::log2_point() const {
  return {std::log2(streams()), std::log2(length), std::log2(group())};
}

double DecodeForm::seconds(const DecodeShape& s) const {
  const double row_blocks = s.streams() * std::ceil(s.heads / s.kv_heads / kPackedQueries);
  const double steps = std::max(1.0, s.length / kKeyBlock);
  const double splits = std::clamp(std::min(sm_count / s.streams(), steps), 1.0, kMaxKeySplits);
  const double bytes = 4 * s.streams() * s.length * s.head_dim;
  const double serial = std::max(1.0, row_blocks * splits / sm_count) * std::max(1.0, steps / splits) *
                        c[step_latency] * (s.head_dim / 128);
  const double compute = 4 * row_blocks * kPackedQueries * s.length * s.head_dim / c[tensor];
  return c[launch] + norm4(norm4(bytes / c[memory], serial), compute) +
         std::max(1.0, row_blocks / sm_count) * c[block] + c[combine] * std::log2(splits) +
         4 * s.seqs * s.heads * s.head_dim / c[query_output];
}

}  // namespace orrery
