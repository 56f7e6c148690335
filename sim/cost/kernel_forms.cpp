#include "cost/kernel_forms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace orrery {

namespace {
double fourth_power(double x) {
  return (x * x) * (x * x);
}
double fourth_root(double x) {
  return std::sqrt(std::sqrt(x));
}
/// std::ceil of 0 <= x < 2^63 without a call into the library: these forms are the simulator's inner loop.
double ceil_of(double x) {
  const auto down = static_cast<double>(static_cast<std::int64_t>(x));
  return down < x ? down + 1 : down;
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
                                   {128, 256, c[efficiency_128x256]}}};
  const double memory_s = (bytes.weight * n * k + bytes.input * m * k + bytes.output * m * n) / c[memory];
  const double memory4 = fourth_power(memory_s), k_steps = k / kStepK;
  const double partial_s =
      m * n * 4 / c[memory];  // fp32 partial sums written and read: 2 transfers of 4 bytes, /2
  double best = 1e30;
  for (const Tile& t : tiles) {
    const double blocks = ceil_of(m / t.rows) * ceil_of(n / t.columns);
    const double step =
        std::max(2 * t.rows * t.columns * kStepK * sm_count / (c[tensor] * t.efficiency), c[step_latency]);
    double share = 1;
    for (double splits = 1; splits <= kMaxSplits; splits *= 2, share /= 2) {
      if (splits > 1 && k < splits * kMinSplitK) break;
      const double waves = ceil_of(blocks * splits / sm_count);
      const double compute = waves * (ceil_of(k_steps * share) * step + c[tile]);
      const double extra = splits > 1 ? c[split] + partial_s * splits : 0.0;
      if (std::max(compute, memory_s) + extra >= best) continue;
      best = std::min(best, fourth_root(fourth_power(compute) + memory4) + extra);
    }
  }
  double total = c[launch] + best;
  if (c[quantise_rate] > 0) total += std::max(c[quantise_floor] * m, 3 * m * k / c[quantise_rate]);
  return total;
}

double PrefillShape::blocks() const {
  return heads * seqs * ceil_of(new_tokens / seqs / kQueryBlock);
}

std::array<double, 4> PrefillShape::log2_point() const {
  return {std::log2(2 * keys_per_query()), std::log2(blocks()), std::log2(group()), std::log2(kv_heads)};
}

double PrefillForm::tensor_rate(double head_dim) const {
  if (head_dim == 128) return c[tensor_128];
  if (head_dim <= 64) return c[tensor_64];
  if (head_dim >= 256) return c[tensor_256];
  const double u = std::log2(head_dim / 128);
  return c[tensor_128] *
         (u < 0 ? std::pow(c[tensor_64] / c[tensor_128], -u) : std::pow(c[tensor_256] / c[tensor_128], u));
}

double PrefillForm::seconds(const PrefillShape& s) const {
  const double rate = tensor_rate(s.head_dim);
  const double compute = 4 * s.heads * s.head_dim * (s.pairs + c[diagonal] * s.new_tokens) / rate;
  const double bytes = 4 * s.head_dim * (s.heads * s.new_tokens + s.kv_heads * s.kv_tokens);
  const double keys = std::min(s.max_kv, 2 * s.keys_per_query()) + kKeyBlock;
  const double longest_block = keys * kQueryBlock * s.head_dim * 4 * sm_count / rate * c[longest];
  const double waves = ceil_of(s.blocks() / sm_count);
  return c[launch] +
         fourth_root(fourth_power(compute) + fourth_power(bytes / c[memory]) + fourth_power(longest_block)) +
         waves * c[block];
}

std::array<double, 4> DecodeShape::log2_point() const {
  return {std::log2(streams()), std::log2(length), std::log2(group()), std::log2(kv_heads)};
}

double DecodeForm::seconds(const DecodeShape& s) const {
  const double row_blocks = s.streams() * ceil_of(s.heads / s.kv_heads / kPackedQueries);
  const double steps = std::max(1.0, s.length / kKeyBlock);
  const double splits = std::clamp(std::min(sm_count / s.streams(), steps), 1.0, kMaxKeySplits);
  const double bytes = 4 * s.streams() * s.length * s.head_dim;
  const double serial = std::max(1.0, row_blocks * splits / sm_count) * std::max(1.0, steps / splits) *
                        c[step_latency] * (s.head_dim / 128);
  const double compute = 4 * row_blocks * kPackedQueries * s.length * s.head_dim / c[tensor];
  return c[launch] +
         fourth_root(fourth_power(bytes / c[memory]) + fourth_power(serial) + fourth_power(compute)) +
         std::max(1.0, row_blocks / sm_count) * c[block] + c[combine] * std::log2(splits) +
         4 * s.seqs * s.heads * s.head_dim / c[query_output];
}

}  // namespace orrery
