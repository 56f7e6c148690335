#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>

#include "catalogue/method.hpp"
#include "ops/moe_layer.hpp"

namespace moe_rows {

inline orrery::MoeParams moe(std::string_view row) {
  return block_of<orrery::MoeParams>(row, "moe");
}

inline orrery::LoweringContext split(int tp, int dp, int ep) {
  orrery::LoweringContext ctx;
  ctx.shard.tp = tp, ctx.shard.dp = dp, ctx.shard.ep = ep;
  return ctx;
}

inline orrery::KernelCalls lowered(const orrery::MoeParams& p, std::int64_t hidden, std::int64_t tokens,
                                   const orrery::LoweringContext& ctx = {}) {
  orrery::BatchShape batch;
  batch.decode_seqs = tokens, batch.decode_context = tokens;
  orrery::KernelCalls calls;
  for (const auto& part : orrery::moe_operators(p, hidden)) part.first->lower(batch, ctx, calls);
  return calls;
}

/// Summed over the calls whose role begins so.
inline double sum(const orrery::KernelCalls& calls, std::string_view role, double orrery::Work::*field) {
  double all = 0;
  for (const auto& c : calls) {
    if (c.role.starts_with(role)) all += c.repeat * c.work.*field;
  }
  return all;
}
inline double flops(const orrery::KernelCalls& calls, std::string_view role) {
  return sum(calls, role, &orrery::Work::tensor_flops);
}
inline double weights(const orrery::KernelCalls& calls, std::string_view role) {
  return sum(calls, role, &orrery::Work::weight_bytes);
}
inline const orrery::KernelCall& call_of(const orrery::KernelCalls& calls, std::string_view role) {
  const auto at = std::find_if(calls.begin(), calls.end(), [&](const auto& c) { return c.role == role; });
  REQUIRE(at != calls.end());
  return *at;
}
inline bool has(const orrery::KernelCalls& calls, std::string_view role) {
  return std::any_of(calls.begin(), calls.end(), [&](const auto& c) { return c.role == role; });
}
inline double parameters(const orrery::MoeParams& p, std::int64_t hidden) {
  double all = 0;
  for (const auto& part : orrery::moe_operators(p, hidden)) all += part.first->parameters();
  return all;
}

}  // namespace moe_rows
