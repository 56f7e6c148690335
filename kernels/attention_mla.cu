#include <cmath>

#include "attention_merge.hpp"
#include "attention_mla.hpp"
#include "attention_mla_kernel.cuh"
#include "attention_reference.hpp"
#include "base/error.hpp"
#include "component.hpp"
#include "ops/attention_mla.hpp"
#include "paged_cache.hpp"

// Decode of multi-head latent attention in absorbed form (DeepSeek-V2, 2024, section 2.1): a multi-query
// attention of 576-wide keys whose first 512 elements are the values, so each row is read from memory once.
// Paged, split over the keys as attention_decode.cu.
//
// Some 1.9 FLOP per byte and head: with 16 and 32 heads it is bound by memory, with 128 by the tensor cores
// (through mma.sync, about half of what wgmma gives on Hopper) and the shared memory that feeds them. Aim:
// 60% of copy bandwidth at 16 heads, 40% of the dense bf16 peak of mma.sync at 128.

namespace orrery::kernels {
namespace {

/// Calls f(rows of a block as a type) of the kernel for so many heads.
template <class F>
void with_mla_kernel(int heads, F&& f) {
  if (heads <= 16) return f(std::integral_constant<int, 16>{});
  if (heads <= 32) return f(std::integral_constant<int, 32>{});
  return f(std::integral_constant<int, 64>{});
}
int blocks_of_heads(int heads) {
  int blocks = 0;
  with_mla_kernel(heads, [&](auto rows) { blocks = ceil_div(heads, rows()); });
  return blocks;
}

}  // namespace

std::size_t attention_mla_shared_bytes(int heads) {
  std::size_t bytes = 0;
  with_mla_kernel(
      heads, [&](auto rows) { bytes = MlaShape<rows()>::kSharedBytes + MlaShape<rows()>::kStaticBytes; });
  return bytes;
}

int attention_mla_splits(int seqs, int heads, int max_keys, int sm_count) {
  return choose_splits(static_cast<std::int64_t>(seqs) * blocks_of_heads(heads), sm_count, max_keys,
                       kMlaLeastKeys);
}

std::size_t attention_mla_workspace(int seqs, int heads, int splits) {
  return merge_workspace_floats(static_cast<std::int64_t>(seqs) * heads, splits, kMlaLatent);
}

void attention_mla(const AttentionMlaArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  ORRERY_CHECK(args.kv.format == DType::bf16 && args.kv.kv_heads == 1 && args.kv.head_dim == kMlaWidth,
               "a cache that does not hold latents in bf16");
  ORRERY_CHECK(args.splits >= 1 && args.splits <= kMaxSplits, "more splits than a merge takes");
  ORRERY_CHECK(args.splits == 1 || args.workspace != nullptr, "splits without a workspace");
  const dim3 grid(static_cast<unsigned>(args.splits), static_cast<unsigned>(blocks_of_heads(args.heads)),
                  static_cast<unsigned>(args.seqs));
  with_mla_kernel(args.heads, [&](auto rows) {
    using S = MlaShape<rows()>;
    launch(mla_kernel<rows()>, {grid, dim3(S::kThreads), S::kSharedBytes, stream}, args);
  });
  if (args.splits == 1) return;
  const std::int64_t all = static_cast<std::int64_t>(args.seqs) * args.heads;
  const float* lse = args.workspace + all * args.splits * kMlaLatent;
  attention_merge({args.workspace, lse, args.out, all, args.splits, kMlaLatent}, stream);
}

namespace {

PagedCacheShape latents(const Case& c) {
  return {static_cast<int>(c.option("block_size", 64)), 1, kMlaWidth, DType::bf16, false};
}

class MlaInstance final : public Instance {
 public:
  explicit MlaInstance(const Case& c)
      : cache_(lengths(c), latents(c), c.seed),
        q_(random_array<bf16>(elements(c, kMlaWidth), c.seed + 7, 3.0F)),
        out_(poisoned_array<bf16>(elements(c, kMlaLatent))) {
    if (c.option("poison", 0) != 0) cache_.poison_tails();
    args_.seqs = static_cast<int>(c.call.dims[0]), args_.heads = static_cast<int>(c.call.dims[2]);
    args_.splits = static_cast<int>(c.option("splits", 0));
    if (args_.splits == 0)
      args_.splits =
          attention_mla_splits(args_.seqs, args_.heads, cache_.max_context(), device_info().sm_count);
    workspace_ = poisoned_array<float>(attention_mla_workspace(args_.seqs, args_.heads, args_.splits));
    args_.q = q_.data(), args_.out = out_.data(), args_.workspace = workspace_.data();
    args_.kv = cache_.view(), args_.contexts = cache_.device_contexts();
    args_.scale = 1 / std::sqrt(192.0F);  // 128 + 64, DeepSeek's head size before absorption
  }

  void launch(StreamRef stream) override { attention_mla(args_, stream); }

  Check check() override {
    const auto q = to_doubles(q_);
    const PagedCache::Host cache(cache_);
    std::vector<double> expected;
    for (int seq = 0; seq < args_.seqs; ++seq) {
      const auto latent = [&](int key, int i) { return cache.k(seq, key, 0, i); };
      for (int head = 0; head < args_.heads; ++head) {
        const double* row = q.data() + static_cast<std::ptrdiff_t>(seq * args_.heads + head) * kMlaWidth;
        append_attention(expected, {row, kMlaWidth}, kMlaLatent,
                         {0, cache_.contexts()[static_cast<std::size_t>(seq)]},
                         static_cast<double>(args_.scale), latent, latent);
      }
    }
    return compare(to_doubles(out_), expected, 8e-3);
  }

 private:
  static std::size_t elements(const Case& c, int width) {
    return static_cast<std::size_t>(c.call.dims[0] * c.call.dims[2]) * static_cast<std::size_t>(width);
  }
  static std::vector<int> lengths(const Case& c) {
    const auto idle = static_cast<int>(c.option("idle", 0));
    auto all = context_lengths(static_cast<int>(c.call.dims[0]) - idle,
                               static_cast<std::int64_t>(c.call.dims[1]), c.option("ragged", 0) != 0, c.seed);
    all.insert(all.begin(), static_cast<std::size_t>(idle), 0);
    return all;
  }

  PagedCache cache_;
  DeviceArray<bf16> q_, out_;
  DeviceArray<float> workspace_;
  AttentionMlaArgs args_;
};

Case mla_case(std::int64_t seqs, std::int64_t total, int heads,
              std::map<std::string, std::int64_t> with = {}) {
  Case c;
  c.call = make_call(kAttentionMlaDecode,
                     {static_cast<double>(seqs), static_cast<double>(total), static_cast<double>(heads),
                      double{kMlaLatent}, double{kMlaRope}},
                     DType::bf16, DType::bf16);
  c.variant = "split_kv";
  c.with = std::move(with);
  c.with.try_emplace("block_size", 64);  // FlashMLA's
  return c;
}

class AttentionMla final : public Component {
 public:
  std::string_view source() const override {
    return "DeepSeek-V2, 2024, section 2.1 (absorbed); Dao et al., Flash-Decoding, 2023";
  }

  /// Heads of DeepSeek-V2 and V3 with data-parallel attention (128) and at TP 8 (16), of V2-Lite (16), of
  /// GLM-5 and Kimi K2 (64) and their halves.
  std::vector<Case> sweep(const DeviceInfo&) const override {
    struct Batch {
      std::int64_t seqs, context;  // the mean
    };
    std::vector<Case> cases;
    const auto add = [&](int heads, std::initializer_list<Batch> batches,
                         const std::map<std::string, std::int64_t>& with = {}) {
      for (const Batch b : batches) cases.push_back(mla_case(b.seqs, b.seqs * b.context, heads, with));
    };
    const auto core = {Batch{64, 1024}, {1, 1024},   {128, 4096}, {16, 4096}, {1, 16384}, {64, 256},
                       {8, 512},        {256, 1024}, {32, 8192},  {4, 32768}, {1, 128},   {2, 131072}};
    for (const int heads : {128, 16, 64, 32}) add(heads, core);
    for (const int heads : {128, 16})
      add(heads, {{64, 1024}, {128, 2048}, {16, 8192}, {8, 1024}}, {{"ragged", 1}});
    for (const int heads : {128, 16}) {
      add(heads, {Batch{512, 512},
                  {2, 4096},
                  {32, 2048},
                  {4, 1024},
                  {16, 512},
                  {256, 4096},
                  {8, 16384},
                  {1, 65536},
                  {128, 256},
                  {512, 128}});
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    return {mla_case(1, 1, 16, {{"splits", 1}, {"poison", 1}}),
            mla_case(1, 31, 5, {{"splits", 1}, {"poison", 1}}),
            mla_case(1, 32, 16, {{"splits", 1}, {"poison", 1}, {"block_size", 16}}),
            mla_case(1, 33, 17, {{"splits", 1}, {"poison", 1}, {"block_size", 1}}),
            mla_case(1, 97, 16, {{"splits", 1}, {"poison", 1}}),
            mla_case(1, 34, 32, {{"splits", 1}, {"poison", 1}, {"block_size", 256}}),
            mla_case(1, 65, 64, {{"splits", 1}, {"poison", 1}}),
            mla_case(1, 20, 65, {{"splits", 1}, {"poison", 1}}),
            mla_case(3, 180, 3, {{"splits", 3}, {"poison", 1}, {"ragged", 1}, {"idle", 1}}),
            mla_case(1, 129, 40, {{"splits", 2}, {"poison", 1}}),
            mla_case(2, 40, 2, {{"splits", 1}, {"poison", 1}, {"idle", 1}})};
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto& d = call.dims;
    if (call.cls != &kAttentionMlaDecode || d[3] != kMlaLatent || d[4] != kMlaRope || d[2] < 1) return {};
    if (call.weight_dtype != DType::bf16) return {};
    return {
        mla_case(static_cast<std::int64_t>(d[0]), static_cast<std::int64_t>(d[1]), static_cast<int>(d[2]))};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8)
      return "asynchronous copies and bf16 tensor cores begin with compute capability 8.0";
    if (attention_mla_shared_bytes(static_cast<int>(c.call.dims[2])) > device.shared_bytes_per_block)
      return "more shared memory per block than the device has";
    const double tokens = c.call.dims[1] + c.call.dims[0] * static_cast<double>(c.option("block_size", 64));
    if (PagedCache::bytes(tokens, latents(c)) > 0.85 * static_cast<double>(device.memory_bytes))
      return "a cache larger than the device's memory";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override { return std::make_unique<MlaInstance>(c); }
};

const AttentionMla component;

}  // namespace

const Registration<Components> attention_mla_component{
    "attention_mla", "one absorbed query per sequence and head against its paged latents (MLA)", &component};

}  // namespace orrery::kernels
