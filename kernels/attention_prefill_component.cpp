#include <algorithm>

#include <fmt/format.h>

#include "attention_prefill.hpp"
#include "attention_prefill_instance.hpp"
#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::kernels {
namespace {

struct Heads {
  std::int64_t heads, kv_heads, dim;
};

/// Collects cases of one head layout, a budget of work per case (in query-key pairs times heads) leaving out
/// what would take seconds.
class Cases {
 public:
  void add(PrefillShape shape) {
    const double reach = static_cast<double>(shape.window > 0 ? shape.window : shape.past + shape.new_tokens);
    const double work =
        static_cast<double>(shape.seqs * shape.new_tokens * shape.heads * shape.head_dim) * reach;
    if (work <= kMostWork) all.push_back(prefill_case(shape));
  }
  void add(const Heads& h, std::int64_t seqs, std::int64_t new_tokens, std::int64_t past) {
    add(with(h, seqs, new_tokens, past));
  }
  static PrefillShape with(const Heads& h, std::int64_t seqs, std::int64_t new_tokens, std::int64_t past) {
    PrefillShape shape;
    shape.seqs = seqs, shape.new_tokens = new_tokens, shape.past = past;
    shape.heads = h.heads, shape.kv_heads = h.kv_heads, shape.head_dim = h.dim;
    return shape;
  }
  std::vector<Case> all;

 private:
  static constexpr double kMostWork = 1.2e13;  // 48 TFLOP when not causal
};

/// Prompts alone, chunks behind a past, and batches of short prompts of one layout of heads.
void add_layout(Cases& cases, const Heads& h) {
  for (const std::int64_t n : {2048, 512, 8192, 128}) cases.add(h, 1, n, 0);
  for (const std::int64_t past : {2048, 16384}) {
    for (const std::int64_t n : {512, 2048}) cases.add(h, 1, n, past);
  }
  cases.add(h, 8, 512, 0), cases.add(h, 32, 64, 0), cases.add(h, 1, 16, 1024), cases.add(h, 4, 2048, 4096);
}

/// The layout most served (32 query heads, 8 of K and V, dimension 128) from end to end.
void add_grid(Cases& cases) {
  const Heads h{32, 8, 128};
  for (const std::int64_t n : {1024, 4096, 256, 16384, 64, 32768, 32, 16}) cases.add(h, 1, n, 0);
  for (const std::int64_t past : {8192, 32768, 1024, 131072, 4096, 512, 65536}) {
    for (const std::int64_t n : {512, 2048, 8192, 256, 1024, 4096}) cases.add(h, 1, n, past);
  }
  for (const std::int64_t seqs : {4, 16, 64}) {
    for (const std::int64_t n : {256, 1024, 64, 2048, 16}) cases.add(h, seqs, n, 0);
    for (const std::int64_t n : {128, 512}) cases.add(h, seqs, n, 2048);
  }
  for (const std::int64_t n : {256, 512, 1024, 2048}) {  // to judge prefill_block_queries() by
    for (const std::int64_t queries : {64, 128}) {
      PrefillShape shape = Cases::with(h, 1, n, 0);
      shape.block_queries = queries;
      cases.add(shape);
    }
  }
  for (const std::int64_t seqs : {4, 16, 64}) {
    for (const std::int64_t past : {0, 4096}) {
      PrefillShape shape = Cases::with(h, seqs, 1024, past);
      shape.ragged = 1;
      cases.add(shape);
    }
  }
}

/// Masks other than the causal one, each at a few sizes.
void add_masks(Cases& cases) {
  const Heads h{32, 8, 128};
  for (const std::int64_t n : {4096, 16384}) {
    PrefillShape shape = Cases::with(h, 1, n, 0);
    for (const std::int64_t window : {1024, 4096, 128}) shape.window = window, cases.add(shape);
    shape.window = 2048, shape.sinks = 4, cases.add(shape);
    shape.window = shape.sinks = 0, shape.sparse_percent = 10, cases.add(shape);
    shape.sparse_percent = 30, cases.add(shape);
  }
  for (const std::int64_t past : {2048, 16384}) {
    PrefillShape shape = Cases::with(h, 1, 2048, past);
    shape.window = 4096, cases.add(shape);
    shape.sinks = 4, cases.add(shape);
    shape.window = shape.sinks = 0, shape.sparse_percent = 10, cases.add(shape);
  }
  for (const std::int64_t seqs : {1, 16}) {
    for (const std::int64_t n : {256, 1024, 4096}) {
      PrefillShape shape = Cases::with({16, 16, 64}, seqs, n, 0);
      shape.bidirectional = 1, cases.add(shape);
    }
    for (const std::int64_t nodes : {8, 64}) {
      PrefillShape shape = Cases::with(h, seqs, nodes, 4096);
      shape.tree = nodes, cases.add(shape);
    }
  }
}

/// What storage changes: contiguous K and V, other block sizes, fp16.
void add_storage(Cases& cases) {
  for (const std::int64_t n : {2048, 8192}) {
    for (const std::int64_t past : {0, 8192}) {
      PrefillShape shape = Cases::with({32, 8, 128}, 1, n, past);
      for (const std::int64_t size : {0, 64, 256}) shape.block_size = size, cases.add(shape);
      shape.block_size = 16, shape.format = DType::fp16, cases.add(shape);
    }
  }
}

class AttentionPrefill final : public Component {
 public:
  std::string_view source() const override {
    return "Dao, FlashAttention-2, 2023, algorithm 1; Kwon et al., vLLM, 2023 (paged K and V)";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    Cases cases;
    add_layout(cases, {32, 8, 128});
    for (const Heads& h : {Heads{64, 8, 128}, Heads{16, 8, 128}, Heads{32, 8, 64}, Heads{8, 1, 128}}) {
      add_layout(cases, h);
    }
    add_grid(cases);
    add_masks(cases);
    for (const Heads& h : {Heads{16, 4, 128}, Heads{4, 1, 128}, Heads{40, 8, 128}, Heads{28, 4, 128},
                           Heads{32, 32, 128}, Heads{8, 2, 128}, Heads{16, 8, 256}, Heads{32, 32, 96}}) {
      add_layout(cases, h);
    }
    add_storage(cases);
    return std::move(cases.all);
  }

  std::vector<Case> checks() const override;
  std::vector<Case> cases_of(const KernelCall& call) const override;

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8) return "tensor cores for bf16 and cp.async need compute capability 8.0";
    const PrefillShape shape = shape_of(c);
    if (!attention_prefill_supports(static_cast<int>(shape.head_dim), shape.format)) {
      return fmt::format("no kernel for head_dim {} in {}", shape.head_dim, name(shape.format));
    }
    const double bytes = prefill_instance_bytes(shape);
    if (bytes > 0.9 * static_cast<double>(device.memory_bytes)) {
      return fmt::format("it needs {:.1f} GB of device memory", bytes / 1e9);
    }
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return prefill_instance(shape_of(c), c.seed);
  }
};

std::vector<Case> AttentionPrefill::checks() const {
  std::vector<Case> cases;
  const auto add = [&](const Heads& h, std::int64_t seqs, std::int64_t n, std::int64_t past, auto change) {
    PrefillShape shape = Cases::with(h, seqs, n, past);
    shape.block_queries = n > 64 ? 128 : 64;
    change(shape);
    cases.push_back(prefill_case(shape));
  };
  const auto plain = [](PrefillShape&) {};
  // One below, at and above a tile of queries (64 and 128) and of keys (64), with and without a past.
  const Heads h{1, 1, 128};
  for (const std::int64_t n : {1, 63, 64, 65, 128, 129}) add(h, 1, n, 0, plain);
  for (const std::int64_t past : {62, 63, 64, 130}) add(h, 1, 1, past, plain);
  add(h, 1, 70, 37, plain), add(h, 1, 70, 37, [](auto& s) { s.block_queries = 64; });
  // Each head dimension in both sizes of block, both formats; many heads sharing one, or a few, or none.
  for (const std::int64_t dim : {64, 96})
    add({2, 1, dim}, 1, 17, 130, plain), add({1, 1, dim}, 1, 66, 64, plain);
  add({2, 2, 256}, 1, 20, 50, plain), add({5, 1, 64}, 1, 5, 20, plain), add({8, 2, 64}, 2, 3, 9, plain);
  add({2, 1, 64}, 1, 30, 40, [](auto& s) { s.format = DType::fp16; });
  add(h, 1, 80, 5, [](auto& s) { s.format = DType::fp16; });
  // Ragged batches in paged caches of several block sizes, and contiguous.
  for (const std::int64_t size : {0, 1, 64}) {
    add({2, 1, 64}, 3, 20, 150, [&](auto& s) { s.ragged = 1, s.block_size = size; });
  }
  add(h, 3, 100, 0, [](auto& s) { s.ragged = 1; });
  // Masks, with tiles that are not visited at all.
  add({1, 1, 64}, 1, 20, 300, [](auto& s) { s.window = 33; });
  add(h, 1, 66, 140, [](auto& s) { s.window = 1; });
  add({1, 1, 64}, 1, 40, 300, [](auto& s) { s.window = 50, s.sinks = 4; });
  add(h, 1, 12, 200, [](auto& s) { s.window = 20, s.sinks = 70; });
  add({1, 1, 64}, 1, 130, 0, [](auto& s) { s.bidirectional = 1; });
  add({1, 1, 64}, 1, 70, 150, [](auto& s) { s.bidirectional = 1, s.window = 40; });
  add({2, 1, 64}, 2, 24, 70, [](auto& s) { s.tree = 16, s.ragged = 1; });
  add(h, 1, 64, 10, [](auto& s) { s.tree = 64; });
  add({2, 1, 64}, 1, 130, 400, [](auto& s) { s.sparse_percent = 30; });
  add({2, 2, 256}, 1, 40, 300, [](auto& s) { s.sparse_percent = 40; });
  return cases;
}

/// A batch of equal chunks with the call's sums: causal when the pairs say so, else with the window that
/// explains them. Of a batch that no equal chunks explain, the one with the same tokens and keys; its case
/// carries its own dimensions.
std::vector<Case> AttentionPrefill::cases_of(const KernelCall& call) const {
  if (call.cls != &kAttentionPrefill || call.dims[0] < 1) return {};
  const double seqs = call.dims[0], pairs = call.dims[2] / seqs;
  const auto each = [&](std::size_t i) {
    return std::max<std::int64_t>(static_cast<std::int64_t>(call.dims[i] / seqs + 0.5), 1);
  };
  const std::int64_t n = each(1), keys = std::max(each(3), n);
  const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
  PrefillShape shape = Cases::with({dim(5), dim(6), dim(7)}, dim(0), n, keys - n);
  shape.format = call.dtype;
  const auto unexplained = [&](Tokens past, Tokens window) {
    return std::abs(static_cast<double>(attention_pairs({n, past}, window)) - pairs);
  };
  if (unexplained(shape.past, 0) > 0.5) {
    // Past the window: keys = n + window - 1. Still below it: keys = past + n, the pairs tell the window.
    Tokens low = 1, high = keys;
    while (low < high) {
      const Tokens middle = (low + high) / 2;
      static_cast<double>(attention_pairs({n, keys - n}, middle)) < pairs ? low = middle + 1 : high = middle;
    }
    const Tokens full = keys - n + 1;
    if (unexplained(full, full) < 0.5) {
      shape.past = shape.window = full;
    } else if (unexplained(keys - n, low) < 0.5) {
      shape.window = low;
    }
  }
  return {prefill_case(shape)};
}

const AttentionPrefill component;

}  // namespace

const Registration<Components> attention_prefill_component{
    "attention_prefill", "prompt chunks against cached and new keys: FlashAttention-2 with masks",
    &component};

}  // namespace orrery::kernels
