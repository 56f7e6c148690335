#pragma once

#include <cmath>
#include <functional>
#include <string_view>
#include <vector>

#include "catalogue/method.hpp"
#include "ops/attention.hpp"

// What the rows on attention ask of its operators.
namespace attn {

using namespace orrery;

inline double d(Tokens n) {
  return static_cast<double>(n);
}

inline AttentionSizes attention_of(std::string_view row) {
  auto sizes = block_of<AttentionSizes>(row, "attention");
  sizes.check(std::string(row));
  return sizes;
}
inline AttentionPattern pattern_of(std::string_view row) {
  return attention_of(row).pattern;
}

inline std::vector<KeyCap> caps_of(const AttentionSizes& sizes) {
  std::vector<KeyCap> caps;
  for (const KeyTerm& term : sizes.decode_terms()) {
    if (term.cap.tokens > 0) caps.push_back(term.cap);
  }
  for (const HeadGroup& group : sizes.groups()) {
    for (const KeyTerm& term : group.pattern.decode_terms()) {
      if (term.cap.tokens > 0) caps.push_back(term.cap);
    }
  }
  return caps;
}

inline KernelCalls prompt_calls(const AttentionSizes& sizes, Tokens tokens, const LoweringContext& ctx = {}) {
  BatchShape batch;
  batch.chunks = {{tokens, 0}};
  KernelCalls calls;
  PrefillAttention(sizes).lower(batch, ctx, calls);
  return calls;
}

/// One step of `seqs` sequences of `context` tokens, the new one included.
inline KernelCalls decode_calls(const AttentionSizes& sizes, Tokens context, const LoweringContext& ctx = {},
                                std::int64_t seqs = 1) {
  const auto caps = caps_of(sizes);
  BatchShape batch;
  batch.decode_seqs = seqs, batch.decode_context = seqs * context;
  for (const KeyCap& cap : caps) batch.windowed_context.push_back(seqs * cap.of(context));
  KernelCalls calls;
  DecodeAttention(sizes, caps).lower(batch, ctx, calls);
  return calls;
}

inline Work total(const KernelCalls& calls, std::string_view role = {}) {
  Work sum;
  for (const KernelCall& call : calls) {
    if (role.empty() || call.role == role) sum += call.work;
  }
  return sum;
}

/// The same sizes with every key seen.
inline AttentionSizes dense(AttentionSizes sizes) {
  sizes.pattern = {}, sizes.mix.clear(), sizes.active_heads = 0;
  return sizes;
}

/// Pairs of `n` queries among `n` keys, each counted by `seen(query)` (from 0).
inline double counted(Tokens n, const std::function<Tokens(Tokens)>& seen) {
  double sum = 0;
  for (Tokens q = 0; q < n; ++q) sum += static_cast<double>(seen(q));
  return sum;
}

/// KV bytes that stay of `context` tokens, as a share of all of them.
inline double kept_share(const AttentionSizes& sizes, Tokens context) {
  const auto caps = caps_of(sizes);
  return DecodeAttention(sizes, caps).state_bytes(context, {}) /
         DecodeAttention(dense(sizes), caps).state_bytes(context, {});
}

/// log2 of how much `cost` grows from n to 2n tokens.
inline double exponent(const std::function<double(Tokens)>& cost, Tokens n) {
  return std::log2(cost(2 * n) / cost(n));
}

}  // namespace attn
