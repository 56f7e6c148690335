#include <cmath>

#include "attention_decode.hpp"
#include "attention_decode_kernel.cuh"
#include "attention_merge.hpp"
#include "attention_reference.hpp"
#include "base/error.hpp"
#include "component.hpp"
#include "ops/kernel_classes.hpp"
#include "paged_cache.hpp"

// Decode attention over a paged cache (Kwon et al., vLLM, 2023), split over the keys (Flash-Decoding; Dao et
// al., 2023), all query heads of a KV head together (Ainslie et al., GQA, 2023). K and V go to shared memory
// in 16-byte asynchronous copies, up to three steps of a warp in flight (64 KiB and more per multiprocessor),
// and are read from memory once.
//
// Bound by memory bandwidth at every group size: padded to 16 rows, the tensor cores do 16 FLOP per byte of
// bf16 cache (64 of int4), below the ridge of A100 and H100. So few heads per KV head need no other kernel:
// dot products on CUDA cores would issue more instructions per key than the padded mma does. Aim: 80% of copy
// bandwidth at large contexts in bf16, less in int8 and int4, whose conversions take issue slots.

namespace orrery::kernels {
namespace {

/// Calls f(zero of the storage type, head size as a type) of the kernel for this cache. False: there is none.
template <class F>
bool with_decode_kernel(DType format, int head_dim, F&& f) {
  bool found = true;
  const bool known = with_kv_type(format, [&](auto zero) {
    if (head_dim == 64) return f(zero, std::integral_constant<int, 64>{});
    if (head_dim == 128) return f(zero, std::integral_constant<int, 128>{});
    if (head_dim == 256) return f(zero, std::integral_constant<int, 256>{});
    found = false;
  });
  return known && found;
}

}  // namespace

std::size_t attention_decode_shared_bytes(DType kv_format, int head_dim) {
  std::size_t bytes = 0;
  with_decode_kernel(kv_format, head_dim, [&](auto zero, auto dim) {
    using S = DecodeShape<decltype(zero), dim()>;
    bytes = S::kSharedBytes + S::kStaticBytes;
  });
  return bytes;
}

int attention_decode_splits(int seqs, int heads, int kv_heads, int max_keys, int sm_count) {
  const auto blocks = static_cast<std::int64_t>(seqs) * kv_heads * ceil_div(heads / kv_heads, kDecodeRows);
  return choose_splits(blocks, 2 * sm_count, max_keys, kDecodeLeastKeys);
}

std::size_t attention_decode_workspace(int seqs, int heads, int head_dim, int splits) {
  return merge_workspace_floats(static_cast<std::int64_t>(seqs) * heads, splits, head_dim);
}

void attention_decode(const AttentionDecodeArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  ORRERY_CHECK(args.heads % args.kv.kv_heads == 0, "query heads that do not share KV heads evenly");
  ORRERY_CHECK(args.splits >= 1 && args.splits <= kMaxSplits, "more splits than a merge takes");
  ORRERY_CHECK(args.splits == 1 || args.workspace != nullptr, "splits without a workspace");
  const int parts = args.kv.kv_heads * ceil_div(args.heads / args.kv.kv_heads, kDecodeRows);
  const dim3 grid(static_cast<unsigned>(args.splits), static_cast<unsigned>(parts),
                  static_cast<unsigned>(args.seqs));
  const bool known = with_decode_kernel(args.kv.format, args.kv.head_dim, [&](auto zero, auto dim) {
    using S = DecodeShape<decltype(zero), dim()>;
    launch(decode_kernel<decltype(zero), dim()>, {grid, dim3(S::kThreads), S::kSharedBytes, stream}, args);
  });
  ORRERY_CHECK(known, "a KV format or head size that decode attention has no kernel for");
  if (args.splits == 1) return;
  const std::int64_t rows = static_cast<std::int64_t>(args.seqs) * args.heads;
  const float* lse = args.workspace + rows * args.splits * args.kv.head_dim;
  attention_merge({args.workspace, lse, args.out, rows, args.splits, args.kv.head_dim}, stream);
}

namespace {

/// Dimensions and options of a case, in integers.
struct DecodeSizes {
  explicit DecodeSizes(const Case& c)
      : seqs(static_cast<int>(c.call.dims[0])),
        heads(static_cast<int>(c.call.dims[2])),
        idle(static_cast<int>(c.option("idle", 0))),
        window(static_cast<int>(c.option("window", 0))),
        total(static_cast<std::int64_t>(c.call.dims[1])) {
    cache.block_size = static_cast<int>(c.option("block_size", 16));
    cache.kv_heads = static_cast<int>(c.call.dims[3]), cache.head_dim = static_cast<int>(c.call.dims[4]);
    cache.format = c.call.weight_dtype;
  }
  int seqs, heads, idle, window;
  std::int64_t total;
  PagedCacheShape cache;
};

class DecodeInstance final : public Instance {
 public:
  DecodeInstance(const Case& c, const DecodeSizes& sizes)
      : cache_(lengths(c, sizes), sizes.cache, c.seed),
        q_(random_array<bf16>(elements(sizes, c.option("q_gap", 0)), c.seed + 7, 3.0F)),
        out_(poisoned_array<bf16>(elements(sizes))) {
    if (c.option("poison", 0) != 0) cache_.poison_tails();
    const auto automatic = [&] {
      const int keys = sizes.window > 0 ? std::min(sizes.window, cache_.max_context()) : cache_.max_context();
      return attention_decode_splits(sizes.seqs, sizes.heads, sizes.cache.kv_heads, keys,
                                     device_info().sm_count);
    };
    args_.splits = static_cast<int>(c.option("splits", 0));
    if (args_.splits == 0) args_.splits = automatic();
    workspace_ = poisoned_array<float>(
        attention_decode_workspace(sizes.seqs, sizes.heads, sizes.cache.head_dim, args_.splits));
    const std::int64_t gap = c.option("q_gap", 0);
    if (gap > 0) args_.q_stride = sizes.heads * sizes.cache.head_dim + gap;
    args_.q = q_.data(), args_.out = out_.data(), args_.workspace = workspace_.data();
    args_.kv = cache_.view(), args_.contexts = cache_.device_contexts();
    args_.seqs = sizes.seqs, args_.heads = sizes.heads, args_.window = sizes.window;
    args_.scale = 1 / std::sqrt(static_cast<float>(sizes.cache.head_dim));
  }

  void launch(StreamRef stream) override { attention_decode(args_, stream); }

  Check check() override {
    const auto q = to_doubles(q_);
    const PagedCache::Host cache(cache_);
    std::vector<double> expected;
    for (int seq = 0; seq < args_.seqs; ++seq) {
      for (int head = 0; head < args_.heads; ++head) append_row(expected, q, cache, seq, head);
    }
    return compare(to_doubles(out_), expected, 8e-3);
  }

 private:
  static std::size_t elements(const DecodeSizes& s, std::int64_t gap = 0) {
    return static_cast<std::size_t>(s.seqs) * static_cast<std::size_t>(s.heads * s.cache.head_dim + gap);
  }
  /// The call counts the keys read: with a window, full ones lie behind as many tokens again.
  static std::vector<int> lengths(const Case& c, const DecodeSizes& s) {
    auto all = context_lengths(s.seqs - s.idle, s.total, c.option("ragged", 0) != 0, c.seed);
    for (int& length : all) {
      ORRERY_CHECK(s.window == 0 || length <= s.window, "a window narrower than the keys counted");
      if (length == s.window) length = 2 * s.window;
    }
    all.insert(all.begin(), static_cast<std::size_t>(s.idle), 0);
    return all;
  }

  void append_row(std::vector<double>& out, const std::vector<double>& q, const PagedCache::Host& cache,
                  int seq, int head) const {
    const int dim = args_.kv.head_dim, kv_head = head / (args_.heads / args_.kv.kv_heads);
    const int context = cache_.contexts()[static_cast<std::size_t>(seq)];
    const int start = args_.window > 0 ? std::max(0, context - args_.window) : 0;
    const std::int64_t stride = args_.q_stride > 0 ? args_.q_stride : std::int64_t{args_.heads} * dim;
    const double* row = q.data() + seq * stride + std::ptrdiff_t{head} * dim;
    append_attention(
        out, {row, static_cast<std::size_t>(dim)}, dim, {start, context}, static_cast<double>(args_.scale),
        [&](int key, int i) { return cache.k(seq, key, kv_head, i); },
        [&](int key, int i) { return cache.v(seq, key, kv_head, i); });
  }

  PagedCache cache_;
  DeviceArray<bf16> q_, out_;
  DeviceArray<float> workspace_;
  AttentionDecodeArgs args_;
};

struct Heads {
  int heads, kv_heads, head_dim;
};
using Options = std::map<std::string, std::int64_t>;

Case decode_case(std::int64_t seqs, std::int64_t total, Heads h, DType format, Options with = {}) {
  Case c;
  const auto d = [](auto x) { return static_cast<double>(x); };
  c.call = make_call(kAttentionDecode, {d(seqs), d(total), d(h.heads), d(h.kv_heads), d(h.head_dim)},
                     DType::bf16, format);
  c.variant = "split_kv";
  c.with = std::move(with);
  c.with.try_emplace("block_size", 16);
  return c;
}

constexpr DType kFormats[] = {DType::bf16, DType::fp8, DType::int8, DType::int4};

std::vector<Case> decode_checks() {
  std::vector<Case> cases;
  const auto add = [&](std::int64_t seqs, std::int64_t total, Heads h, DType format, Options with) {
    with.emplace("poison", 1);
    cases.push_back(decode_case(seqs, total, h, format, std::move(with)));
  };
  for (const int context : {1, 15, 16, 17, 63, 64, 65, 130})
    add(1, context, {1, 1, 64}, DType::bf16, {{"splits", 1}});
  for (const DType format : kFormats) {
    for (const int dim : {64, 128, 256}) add(1, 70, {4, 1, dim}, format, {{"splits", 1}});
  }
  for (const int group : {2, 8, 9, 16, 17, 32}) add(1, 20, {group, 1, 64}, DType::bf16, {{"splits", 1}});
  for (const int block : {1, 64, 256})
    add(2, 100, {4, 2, 64}, DType::fp8, {{"block_size", block}, {"ragged", 1}});
  for (const int splits : {2, 3, 5}) add(1, 257, {2, 1, 64}, DType::bf16, {{"splits", splits}});
  add(4, 400, {2, 2, 64}, DType::int8, {{"splits", 2}, {"ragged", 1}, {"idle", 1}});
  add(3, 60, {4, 2, 64}, DType::bf16, {{"splits", 1}, {"q_gap", 256}});
  add(3, 60, {3, 1, 64}, DType::int4, {{"splits", 1}, {"ragged", 1}, {"idle", 1}});
  add(1, 40, {2, 1, 64}, DType::bf16, {{"splits", 1}, {"window", 40}});
  add(3, 100, {2, 1, 64}, DType::bf16, {{"window", 63}, {"ragged", 1}});
  add(1, 130, {9, 1, 128}, DType::fp8, {{"splits", 2}, {"window", 130}, {"block_size", 1}});
  return cases;
}

class AttentionDecode final : public Component {
 public:
  std::string_view source() const override {
    return "Kwon et al., PagedAttention, 2023; Dao et al., Flash-Decoding, 2023";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override;

  std::vector<Case> checks() const override { return decode_checks(); }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    if (call.cls != &kAttentionDecode) return {};
    const auto& d = call.dims;
    const Heads h{static_cast<int>(d[2]), static_cast<int>(d[3]), static_cast<int>(d[4])};
    if (h.kv_heads < 1 || h.heads % h.kv_heads != 0 ||
        attention_decode_shared_bytes(call.weight_dtype, h.head_dim) == 0)
      return {};
    return {
        decode_case(static_cast<std::int64_t>(d[0]), static_cast<std::int64_t>(d[1]), h, call.weight_dtype)};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    const DecodeSizes s(c);
    if (device.cc_major < 8)
      return "asynchronous copies and bf16 tensor cores begin with compute capability 8.0";
    if (attention_decode_shared_bytes(s.cache.format, s.cache.head_dim) > device.shared_bytes_per_block)
      return "more shared memory per block than the device has";
    const double tokens = static_cast<double>(s.total) * (s.window > 0 ? 2 : 1) + s.seqs * s.cache.block_size;
    if (PagedCache::bytes(tokens, s.cache) > 0.85 * static_cast<double>(device.memory_bytes))
      return "a KV cache larger than the device's memory";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<DecodeInstance>(c, DecodeSizes(c));
  }
};

struct Batch {
  std::int64_t seqs, context;  // the mean
};

/// Shapes of decode steps: Llama-3.1 8B and 70B and their shards, Qwen3, small GQA, MHA; batches and contexts
/// in turn from both ends. Beyond 4 Mi tokens per KV cache of one layer nobody decodes.
std::vector<Case> AttentionDecode::sweep(const DeviceInfo&) const {
  std::vector<Case> cases;
  const auto add = [&](Heads h, DType format, std::initializer_list<Batch> batches,
                       const Options& with = {}) {
    for (const Batch b : batches) cases.push_back(decode_case(b.seqs, b.seqs * b.context, h, format, with));
  };
  const Heads llama8{32, 8, 128}, llama70_tp4{16, 2, 128}, llama70_tp8{8, 1, 128}, llama70{64, 8, 128};
  const auto core = {Batch{64, 1024}, {1, 1024},  {256, 1024}, {16, 4096}, {1, 16384},  {64, 256},
                     {8, 512},        {256, 256}, {32, 8192},  {4, 32768}, {128, 2048}, {1, 128}};
  for (const Heads h : {llama8, llama70_tp8, llama70_tp4}) add(h, DType::bf16, core);
  for (const Heads h : {llama8, llama70_tp8}) add(h, DType::fp8, core);
  const auto mixed = {Batch{64, 1024}, {256, 512}, {16, 4096}, {32, 8192}, {128, 2048}, {8, 1024}};
  for (const DType format : {DType::bf16, DType::fp8}) add(llama8, format, mixed, {{"ragged", 1}});
  const auto fill = {Batch{2, 2048}, {512, 512},  {1, 131072}, {16, 1024}, {32, 2048},  {8, 131072},
                     {4, 8192},      {512, 128},  {128, 512},  {64, 4096}, {16, 16384}, {1, 4096},
                     {2, 65536},     {256, 4096}, {1, 512},    {4, 256},   {128, 8192}, {8, 16384}};
  for (const Heads h : {llama8, llama70_tp8}) add(h, DType::bf16, fill);
  const auto few = {Batch{64, 1024}, {1, 4096}, {16, 8192}, {256, 512}, {8, 32768}, {32, 256}};
  const Heads llama1{32, 8, 64}, qwen_small{16, 8, 128}, qwen14{40, 8, 128}, llama8_tp4{8, 2, 128},
      llama8_tp8{4, 1, 128}, llama8_tp2{16, 4, 128}, llama70_tp2{32, 4, 128}, mha{32, 32, 128},
      wide{16, 8, 256};
  for (const Heads h :
       {llama70, qwen14, llama1, qwen_small, llama8_tp4, llama70_tp2, llama8_tp8, llama8_tp2, mha, wide})
    add(h, DType::bf16, few);
  for (const Heads h : {llama70, llama70_tp4, llama1, qwen_small}) add(h, DType::fp8, few);
  for (const DType format : {DType::int8, DType::int4}) add(llama8, format, few);
  add(llama8, DType::fp8, fill);
  for (const int block : {1, 64, 256})
    add(llama8, DType::bf16, {{64, 1024}, {8, 32768}}, {{"block_size", block}});
  for (const std::int64_t window : {1024, 4096})
    add(llama8, DType::bf16, {{64, window}, {8, window}}, {{"window", window}});
  return cases;
}

const AttentionDecode component;

}  // namespace

const Registration<Components> attention_decode_component{
    "attention_decode", "one query per sequence against its paged KV cache, split over the keys", &component};

}  // namespace orrery::kernels
