#include <algorithm>

#include "linear_attention.hpp"
#include "linear_delta_kernel.cuh"
#include "linear_output_kernel.cuh"
#include "linear_problem.hpp"
#include "linear_state_kernel.cuh"
#include "ops/recurrent.hpp"

// Chunked linear attention for prompts (Hua et al., 2022; Sun et al., RetNet, 2023, section 2.3; Yang et al.,
// GLA, 2024, section 4; DeltaNet and Gated DeltaNet, 2024): three passes, as flash-linear-attention has them,
// with one template for the update rules. For the delta rule W and U of every chunk (parallel); then the
// states at the chunks' starts, chunk after chunk (parallel over sequences, heads and 32 columns of the
// state); then the outputs (parallel). Long prompts of few heads are bound by the latency of the second pass;
// otherwise by memory and, with gates per channel, by exponentials. Aim: half of copy bandwidth on the bytes
// of the class's Work for 32 heads of 128 and 8192 tokens.

namespace orrery::kernels {
namespace {

template <int chunk, int key_dim, bool vector, bool delta>
struct Passes {
  using State = StateShared<chunk, key_dim, delta>;
  using Output = OutputShared<chunk, key_dim, vector>;

  static std::size_t shared_bytes() {
    std::size_t most = std::max(sizeof(State), sizeof(Output));
    if constexpr (delta) most = std::max(most, sizeof(DeltaShared<chunk, key_dim, vector>));
    return most;
  }
  static void run(const LinearAttentionArgs& args, StreamRef stream) {
    const auto chunks = static_cast<unsigned>(args.chunk_count), heads = static_cast<unsigned>(args.in.heads),
               seqs = static_cast<unsigned>(args.in.seqs), columns = static_cast<unsigned>(args.in.value_dim);
    if constexpr (delta) {
      launch(delta_kernel<chunk, key_dim, vector>,
             {dim3(chunks, heads), dim3(chunk * 2), sizeof(DeltaShared<chunk, key_dim, vector>), stream},
             args);
    }
    launch(state_kernel<chunk, key_dim, vector, delta>,
           {dim3(columns / kStateTile, heads, seqs), dim3(kStateThreads), sizeof(State), stream}, args);
    launch(output_kernel<chunk, key_dim, vector, delta>,
           {dim3(chunks, heads, columns / kOutputTile), dim3(chunk * 2), sizeof(Output), stream}, args);
  }
};

/// use(Passes<...>()) for the compiled combination; false when there is none.
template <class Use>
bool with_passes(int key_dim, int chunk, bool vector, bool delta, Use use) {
  const auto of = [&]<int c, int dk>() {
    if (vector && delta) {
      if constexpr (c == 64 && dk <= 128) return use(Passes<c, dk, true, true>()), true;
    } else if (vector) {
      if constexpr (c == 64) return use(Passes<c, dk, true, false>()), true;
    } else if (delta) {
      if constexpr (c == 64) return use(Passes<c, dk, false, true>()), true;
    } else {
      return use(Passes<c, dk, false, false>()), true;
    }
    return false;
  };
  if (chunk == 128) {
    if (key_dim == 64) return of.template operator()<128, 64>();
    return key_dim == 128 && of.template operator()<128, 128>();
  }
  if (chunk != 64) return false;
  if (key_dim == 64) return of.template operator()<64, 64>();
  if (key_dim == 128) return of.template operator()<64, 128>();
  return key_dim == 256 && of.template operator()<64, 256>();
}

}  // namespace

bool linear_attention_knows(int key_dim, int value_dim, int chunk, bool gate, bool delta) {
  return value_dim % kOutputTile == 0 && value_dim > 0 &&
         with_passes(key_dim, chunk, gate, delta, [](auto) {});
}

std::size_t linear_attention_shared_bytes(int key_dim, int chunk, bool gate, bool delta) {
  std::size_t bytes = 0;
  with_passes(key_dim, chunk, gate, delta, [&](auto passes) { bytes = passes.shared_bytes(); });
  return bytes;
}

void linear_attention(const LinearAttentionArgs& given, StreamRef stream) {
  LinearAttentionArgs args = given;
  const LinearInputs& in = args.in = with_pitches(args.in);
  if (args.chunk_count == 0) return;
  ORRERY_CHECK(linear_attention_knows(in.key_dim, in.value_dim, args.chunk, in.gate != nullptr, in.delta),
               "linear attention of sizes that are not compiled");
  ORRERY_CHECK(in.heads % in.key_heads == 0, "heads that do not divide among the key heads");
  ORRERY_CHECK(!in.delta || in.beta != nullptr, "a delta rule without write strengths");
  with_passes(in.key_dim, args.chunk, in.gate != nullptr, in.delta,
              [&](auto passes) { passes.run(args, stream); });
}

namespace {

struct Shape {
  std::int64_t tokens, seqs;
  LinearSizes sizes;
  int chunk = 64;
};
Shape shape_of(const KernelCall& call) {
  const auto& d = call.dims;
  const auto size = [&](std::size_t i) { return static_cast<int>(d[i]); };
  return {static_cast<std::int64_t>(d[0]),
          static_cast<std::int64_t>(d[1]),
          {size(2), size(3), size(4), size(5)},
          size(6)};
}

class ChunkedInstance final : public Instance {
 public:
  ChunkedInstance(const Shape& s, const LinearRule& rule, bool ragged, std::uint64_t seed)
      : problem_(s.sizes, rule, prompt_lengths(s.tokens, s.seqs, ragged), seed),
        chunked_(problem_, s.chunk) {}
  void launch(StreamRef stream) override { linear_attention(chunked_.args(), stream); }
  Check check() override {
    // The delta rule rounds W, U and T before they meet in a difference.
    return problem_.check([&] { linear_attention(chunked_.args(), nullptr); },
                          problem_.inputs().delta ? 2e-2 : 1e-2);
  }

 private:
  LinearProblem problem_;
  ChunkedProblem chunked_;
};

Case case_of(const KernelClass& cls, const std::string& variant, const Shape& s, bool ragged = false) {
  Case c;
  c.call = make_call(
      cls,
      {static_cast<double>(s.tokens), static_cast<double>(s.seqs), static_cast<double>(s.sizes.heads),
       static_cast<double>(s.sizes.key_heads), static_cast<double>(s.sizes.key_dim),
       static_cast<double>(s.sizes.value_dim), static_cast<double>(s.chunk)},
      DType::bf16, DType::fp32);
  c.variant = variant;
  if (ragged) c.with["ragged"] = 1;
  return c;
}

class LinearAttention final : public Component {
 public:
  std::string_view source() const override {
    return "Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, 2024";
  }
  std::vector<Case> sweep(const DeviceInfo&) const override;
  std::vector<Case> checks() const override {
    const auto& additive = kLinearAttention;
    return {case_of(additive, "additive", {1, 1, {1, 1, 64, 64}}),
            case_of(additive, "constant_decay", {63, 1, {2, 1, 64, 128}}),
            case_of(additive, "scalar_gate", {130, 2, {1, 1, 128, 64}}, true),
            case_of(additive, "scalar_gate", {128, 1, {2, 2, 64, 64}, 128}),
            case_of(additive, "additive", {130, 1, {1, 1, 128, 64}, 128}),
            case_of(additive, "constant_decay", {64, 1, {1, 1, 256, 64}}),
            case_of(kGatedLinearAttention, "vector_gate", {63, 1, {1, 1, 64, 64}}),
            case_of(kGatedLinearAttention, "vector_gate", {100, 2, {1, 1, 128, 64}, 64}, true),
            case_of(kGatedLinearAttention, "vector_gate", {17, 1, {1, 1, 256, 64}}),
            case_of(kDeltaRule, "delta", {129, 1, {1, 1, 64, 64}}),
            case_of(kDeltaRule, "gated_delta", {70, 2, {2, 1, 128, 64}}, true),
            case_of(kDeltaRule, "gated_delta", {64, 1, {1, 1, 256, 64}}),
            case_of(kGatedDeltaRule, "vector_gated_delta", {81, 1, {1, 1, 64, 64}}),
            case_of(kGatedDeltaRule, "vector_gated_delta", {70, 1, {1, 1, 128, 64}})};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const Shape s = shape_of(call);
    std::vector<Case> cases;
    if (call.cls->scaling != KernelClass::Scaling::prefill) return cases;
    for (const auto& variant : linear_variants(*call.cls)) {
      const LinearRule rule = linear_rule(variant);
      const bool known = linear_attention_knows(s.sizes.key_dim, s.sizes.value_dim, s.chunk,
                                                rule.decay == LinearRule::Decay::channel, rule.delta);
      const bool shared = s.sizes.key_heads > 0 && s.sizes.heads % s.sizes.key_heads == 0;
      if (known && shared && cases.empty()) cases.push_back(case_of(*call.cls, variant, s));
    }
    return cases;
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    const Shape s = shape_of(c.call);
    const LinearRule rule = linear_rule(c.variant);
    if (device.cc_major < 8)
      return "asynchronous copies and bf16 tensor cores begin with compute capability 8.0";
    if (linear_attention_shared_bytes(s.sizes.key_dim, s.chunk, rule.decay == LinearRule::Decay::channel,
                                      rule.delta) > device.shared_bytes_per_block)
      return "more shared memory per block than the device has";
    if (linear_problem_bytes(static_cast<double>(s.tokens), static_cast<double>(s.seqs), s.sizes, s.chunk) >
        0.85 * static_cast<double>(device.memory_bytes))
      return "states and tokens larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<ChunkedInstance>(shape_of(c.call), linear_rule(c.variant),
                                             c.option("ragged", 0) != 0, c.seed);
  }
};

/// Heads of Qwen3-Next (Gated DeltaNet), MiniMax-01 (Lightning attention), Kimi Linear, DeltaNet 1.3B and GLA
/// 1.3B and their shards.
std::vector<Case> LinearAttention::sweep(const DeviceInfo&) const {
  struct Prompts {
    std::int64_t tokens, seqs;
    bool ragged = false;
  };
  std::vector<Case> cases;
  const auto add = [&](const KernelClass& cls, const char* variant, const std::vector<LinearSizes>& sizes,
                       const std::vector<Prompts>& prompts, int chunk = 64) {
    for (const LinearSizes& s : sizes) {
      for (const Prompts& p : prompts)
        cases.push_back(case_of(cls, variant, {p.tokens, p.seqs, s, chunk}, p.ragged));
    }
  };
  const std::vector<Prompts> core{{2048, 1}, {8192, 1}, {512, 1}, {8192, 8}, {128, 1}, {2048, 4, true}},
      fill{{4096, 1}, {1024, 1}, {16384, 1}, {64, 1}, {256, 1}, {4096, 32}, {32768, 1}, {8192, 4, true}},
      few{{2048, 1}, {8192, 4}, {512, 2}};
  add(kDeltaRule, "gated_delta", {{32, 16, 128, 128}, {8, 4, 128, 128}}, core);
  add(kLinearAttention, "constant_decay", {{64, 64, 128, 128}, {8, 8, 128, 128}}, core);
  add(kGatedDeltaRule, "vector_gated_delta", {{32, 32, 128, 128}}, core);
  add(kGatedLinearAttention, "vector_gate", {{16, 16, 128, 128}, {4, 4, 256, 512}}, core);
  add(kDeltaRule, "gated_delta", {{32, 16, 128, 128}}, fill);
  add(kLinearAttention, "constant_decay", {{64, 64, 128, 128}}, fill);
  add(kDeltaRule, "gated_delta", {{16, 8, 128, 128}, {4, 2, 128, 128}, {64, 16, 128, 128}}, few);
  add(kLinearAttention, "constant_decay", {{32, 32, 128, 128}, {16, 16, 128, 128}, {8, 8, 256, 512}}, few);
  add(kGatedDeltaRule, "vector_gated_delta", {{8, 8, 128, 128}, {16, 16, 64, 64}}, few);
  add(kGatedLinearAttention, "vector_gate", {{32, 32, 64, 64}}, few);
  add(kDeltaRule, "delta", {{16, 16, 128, 128}, {8, 8, 256, 256}}, few);
  add(kLinearAttention, "scalar_gate", {{32, 32, 128, 128}, {32, 32, 64, 64}}, few);
  add(kLinearAttention, "additive", {{16, 16, 64, 64}}, few);
  add(kLinearAttention, "constant_decay", {{64, 64, 128, 128}}, few, 128);
  add(kGatedDeltaRule, "vector_gated_delta", {{32, 32, 128, 128}}, fill);
  add(kGatedLinearAttention, "vector_gate", {{16, 16, 128, 128}}, fill);
  return cases;
}

const LinearAttention component;

}  // namespace

const Registration<Components> linear_attention_component{
    "linear_attention", "linear attention in chunks: additive, gated, delta rule", &component};

}  // namespace orrery::kernels
