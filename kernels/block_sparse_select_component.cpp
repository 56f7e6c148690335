#include <algorithm>

#include "attention_decode.hpp"
#include "block_sparse_select.hpp"
#include "block_sparse_select_instance.hpp"
#include "ops/block_select.hpp"
#include "ops/kernel_classes.hpp"
#include "paged_cache.hpp"

// The component of block_sparse_select.cu: two classes, the choice of blocks and attention over them.

namespace orrery::kernels {
namespace {

struct Heads {
  int heads, kv_heads, head_dim;
};
using Options = std::map<std::string, std::int64_t>;

/// A way of choosing: how blocks are scored, of how many tokens they are, how many are read.
struct Method {
  const char* variant;
  int block_size, selected;
  Options with = {};
};

/// Defaults of the papers' code: Quest's pages of 16 and budget of 1024 tokens; NSA's 16 blocks of 64, one
/// first and two last of them fixed; MoBA's 3 blocks of 512.
const Method kQuest{"bounds", 16, 64}, kNsa{"compressed", 64, 16, {{"keep_first", 1}, {"keep_last", 2}}},
    kMoba{"mean", 512, 3};

Case select_case(std::int64_t seqs, std::int64_t blocks, Heads h, const Method& m) {
  Case c;
  const auto d = [](auto x) { return static_cast<double>(x); };
  const double vectors = m.variant == std::string_view("bounds") ? 2 : 1;
  c.call = make_call(kBlockSelect,
                     {d(seqs), d(blocks), d(h.heads), d(h.kv_heads), d(h.head_dim), d(m.selected), vectors},
                     DType::bf16, DType::bf16);
  c.variant = m.variant, c.with = m.with;
  c.with["block_size"] = m.block_size;
  return c;
}
Case attend_case(std::int64_t seqs, std::int64_t tokens, Heads h, DType format, Options with) {
  Case c;
  const auto d = [](auto x) { return static_cast<double>(x); };
  c.call = make_call(kAttentionSelected, {d(seqs), d(tokens), d(h.heads), d(h.kv_heads), d(h.head_dim)},
                     DType::bf16, format);
  c.variant = "rows", c.with = std::move(with);
  return c;
}

class BlockSparseSelect final : public Component {
 public:
  std::string_view source() const override {
    return "Lu et al., MoBA, 2025; Tang et al., Quest, 2024; Yuan et al., NSA, 2025";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    struct Batch {
      std::int64_t seqs, context;
    };
    constexpr Heads llama8{32, 8, 128}, nsa{64, 4, 128}, llama70_tp8{8, 1, 128}, qwen32{64, 8, 128};
    constexpr Batch batches[] = {{1, 32768},  {16, 32768}, {64, 8192}, {4, 131072}, {8, 16384},
                                 {32, 16384}, {128, 4096}, {2, 65536}, {256, 4096}};
    for (const Heads h : {llama8, nsa, llama70_tp8, qwen32}) {
      for (const Batch b : batches) {
        for (const Method& m : {kQuest, kNsa, kMoba}) {
          cases.push_back(select_case(b.seqs, b.seqs * b.context / m.block_size, h, m));
          const std::int64_t read =
              std::min<std::int64_t>(std::int64_t{m.selected} * m.block_size, b.context / 2);
          cases.push_back(attend_case(b.seqs, b.seqs * read, h, DType::bf16,
                                      {{"block_size", m.block_size}, {"spread", 4}}));
        }
      }
    }
    for (const Method& m : {kQuest, kNsa, kMoba})
      cases.push_back(select_case(1, 131072 / m.block_size, llama8, m));
    for (const Batch b : batches)
      cases.push_back(
          attend_case(b.seqs, b.seqs * 1024, llama8, DType::fp8, {{"block_size", 64}, {"spread", 4}}));
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    const auto select = [&](int seqs, int blocks, Heads h, Method m, const Options& more) {
      for (const auto& [name, value] : more) m.with[name] = value;
      cases.push_back(select_case(seqs, blocks, h, m));
    };
    for (const char* variant : {"mean", "bounds", "compressed"}) {
      // Fewer blocks than are selected, as many, more; unfinished ones; a thread block's part and beyond.
      select(1, 3, {1, 1, 64}, {variant, 2, 4}, {}), select(2, 8, {4, 2, 64}, {variant, 2, 4}, {});
      select(2, 18, {2, 1, 128}, {variant, 4, 4}, {{"unfinished", 3}, {"ragged", 1}, {"idle", 1}});
      select(1, 67, {9, 1, 64}, {variant, 1, 20}, {{"keep_first", 1}, {"keep_last", 2}});
    }
    select(1, 9, {17, 1, 64}, {"compressed", 2, 3}, {}), select(1, 9, {17, 1, 64}, {"mean", 2, 3}, {});
    select(1, 9, {1, 1, 256}, {"bounds", 2, 3}, {}),
        select(1, 2, {1, 1, 64}, {"mean", 4, 2}, {{"unfinished", 3}});
    select(1, 1100, {1, 1, 64}, {"mean", 1, 600}, {});
    const auto attend = [&](int seqs, int tokens, Heads h, DType format, const Options& with) {
      cases.push_back(attend_case(seqs, tokens, h, format, with));
    };
    attend(1, 1, {1, 1, 64}, DType::bf16, {{"block_size", 4}, {"splits", 1}});
    attend(2, 70, {4, 2, 64}, DType::bf16, {{"block_size", 16}, {"splits", 1}, {"ragged", 1}});
    attend(2, 40, {4, 2, 128}, DType::fp8, {{"block_size", 16}, {"splits", 2}});
    attend(1, 33, {2, 2, 64}, DType::int8, {{"block_size", 16}, {"spread", 2}});
    attend(1, 20, {16, 1, 64}, DType::int4, {{"block_size", 1}, {"spread", 3}});
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override;

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8) return "bf16 tensor cores begin with compute capability 8.0";
    const auto& d = c.call.dims;
    const bool select = c.call.cls == &kBlockSelect;
    if (!select && attention_decode_shared_bytes(c.call.weight_dtype, static_cast<int>(d[4])) >
                       device.shared_bytes_per_block)
      return "more shared memory per block than the device has";
    const double size = static_cast<double>(c.option("block_size", 64));
    const double tokens =
        select ? (d[1] + d[0]) * size : (d[1] + d[0] * size) * static_cast<double>(c.option("spread", 8));
    const PagedCacheShape shape{static_cast<int>(size), static_cast<int>(d[3]), static_cast<int>(d[4]),
                                c.call.weight_dtype, !select};
    if (1.3 * PagedCache::bytes(tokens, shape) > 0.8 * static_cast<double>(device.memory_bytes))
      return "a KV cache larger than the device's memory";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override { return make_block_sparse_select(c); }
};

/// Both ways of scoring that read one vector per block; blocks of the size that the class leaves open.
std::vector<Case> BlockSparseSelect::cases_of(const KernelCall& call) const {
  const bool select = call.cls == &kBlockSelect;
  if (!select && call.cls != &kAttentionSelected) return {};
  const auto dim = [&](std::size_t i) { return static_cast<int>(call.dims[i]); };
  const Heads h{dim(2), dim(3), dim(4)};
  if (h.kv_heads < 1 || h.heads % h.kv_heads != 0 || call.dtype != DType::bf16 || dim(0) < 1 ||
      attention_decode_shared_bytes(call.weight_dtype, h.head_dim) == 0)
    return {};
  const auto sum = static_cast<std::int64_t>(call.dims[1]);
  if (!select) return {attend_case(dim(0), sum, h, call.weight_dtype, {{"block_size", 64}, {"spread", 4}})};
  if (call.weight_dtype != DType::bf16 || dim(5) < 2 || dim(5) > kMaxSelectedBlocks) return {};
  if (dim(6) == 2) return {select_case(dim(0), sum, h, {"bounds", 16, dim(5)})};
  if (dim(6) != 1) return {};
  return {select_case(dim(0), sum, h, {"mean", 64, dim(5)}),
          select_case(dim(0), sum, h, {"compressed", 64, dim(5)})};
}

const BlockSparseSelect component;

}  // namespace

const Registration<Components> block_sparse_select_component{
    "block_sparse_select", "choice of KV blocks by summaries of their keys, and decode attention over them",
    &component};

}  // namespace orrery::kernels
