#include "model/lowering.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/config_import.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {
BatchShape decodes(std::int64_t seqs, Tokens context, std::vector<Tokens> windowed = {}) {
  BatchShape batch;
  batch.decode_seqs = seqs, batch.decode_context = context, batch.windowed_context = std::move(windowed);
  return batch;
}
KernelCalls lowered(const ModelSpec& model, const BatchShape& batch, int tp = 1) {
  LoweringContext ctx;
  ctx.shard.tp = tp;
  KernelCalls calls;
  model.lower(batch, ctx, calls);
  return calls;
}
std::vector<std::string> roles(const KernelCalls& calls) {
  std::vector<std::string> out;
  for (const auto& c : calls) out.emplace_back(c.role);
  return out;
}
double sum(const KernelCalls& calls, double Work::*field) {
  return std::accumulate(calls.begin(), calls.end(), 0.0,
                         [&](double s, const KernelCall& c) { return s + c.repeat * c.work.*field; });
}
/// Every shipped model, with contexts for its windows.
template <class F>
void for_each_model(F f) {
  for (const auto& name : list_models()) {
    INFO(name);
    const auto model = load_model(name);
    f(model, std::vector<Tokens>(model.caps().size(), 300));
  }
}
bool has_states(const ModelSpec& model) {
  return std::any_of(model.kinds.begin(), model.kinds.end(), [](const LayerKind& kind) {
    return std::any_of(kind.mixers.begin(), kind.mixers.end(),
                       [](const Mixer& m) { return std::holds_alternative<StateParams>(m); });
  });
}
}  // namespace

TEST_CASE("which kernels does a decode step of Llama launch, in order?") {
  const auto calls = lowered(load_model("llama-3.1-8b"), decodes(8, 8000), 2);
  CHECK(roles(calls) == std::vector<std::string>{
                            "embedding", "embedding_all_reduce",                                        //
                            "input_norm", "qkv_proj", "rope", "kv_write", "attention", "o_proj",        //
                            "attn_all_reduce", "post_norm", "gate_up_proj", "activation", "down_proj",  //
                            "mlp_all_reduce", "final_norm", "lm_head", "logits_gather", "sampling"});
  for (const auto& c : calls) {
    const bool once = c.role == "embedding" || c.role == "embedding_all_reduce" || c.role == "final_norm" ||
                      c.cls->scaling == KernelClass::Scaling::logits;
    CHECK(c.repeat == (once ? 1 : 32));
    CHECK(c.layer_end == (c.role == "mlp_all_reduce"));
  }
}

TEST_CASE("is a mixed step the union of its prefill and decode parts?") {
  auto batch = decodes(8, 8000);
  batch.chunks = {{512, 1024}};
  std::map<const KernelClass*, int> classes;
  for (const auto& c : lowered(load_model("llama-3.1-8b"), batch)) ++classes[c.cls];
  CHECK(classes[&kAttentionPrefill] == 1);
  CHECK(classes[&kAttentionDecode] == 1);
  CHECK(classes[&kGemm] == 4);
  CHECK(classes[&kAllReduceNccl] == 0);
}

TEST_CASE("do a model's matrix FLOPs per token equal twice its matrix parameters?") {
  // Kaplan et al., 2020: a forward pass multiplies every matrix parameter once per token, beside attention
  // and states; of experts the chosen ones.
  const std::set<std::string_view> products{"gemm", "lm_head", "grouped_gemm", "mla_absorb"};
  for_each_model([&](const ModelSpec& model, const std::vector<Tokens>& windowed) {
    double flops = 0;
    for (const auto& c : lowered(model, decodes(1, 300, windowed))) {
      if (products.count(c.cls->name) > 0) flops += c.repeat * c.work.tensor_flops;
    }
    // Norms, biases, convolutions and the states' own parameters are not products.
    CHECK(flops == Approx(2 * model.active_parameters()).epsilon(has_states(model) ? 0.015 : 2e-3));
  });
}

TEST_CASE("does a decode step of one sequence read every active parameter once?") {
  for_each_model([](const ModelSpec& model, const std::vector<Tokens>& windowed) {
    const auto calls = lowered(model, decodes(1, 300, windowed));
    // The embedding's table is looked up, not read. Padded rows and biases explain the rest; states keep some
    // parameters in fp32.
    const double bytes = bytes_per_element(DType::bf16) * model.active_parameters();
    CHECK(sum(calls, &Work::weight_bytes) == Approx(bytes).epsilon(has_states(model) ? 0.015 : 2e-3));
  });
}

TEST_CASE("does twice as many layers launch each layer's kernels twice as often?") {
  auto model = load_model("gemma-2-9b");
  const auto batch = decodes(4, 40000, {16000});
  const auto once = lowered(model, batch);
  for (auto& kind : model.kinds) kind.count *= 2;
  const auto twice = lowered(model, batch);
  REQUIRE(once.size() == twice.size());
  for (std::size_t i = 0; i < once.size(); ++i) {
    const bool in_layer = once[i].repeat > 1;
    CHECK(twice[i].repeat == once[i].repeat * (in_layer ? 2 : 1));
  }
}

TEST_CASE("do Gemma 2's windowed layers read the windowed context and the others all of it?") {
  std::vector<double> contexts;
  for (const auto& c : lowered(load_model("gemma-2-9b"), decodes(4, 24000, {16000}))) {
    if (c.cls == &kAttentionDecode) contexts.push_back(c.dims[1]);
  }
  CHECK(contexts == std::vector<double>{16000, 24000});
}

TEST_CASE("do the ranks of a split hold the model once, and each its part of the work?") {
  for_each_model([](const ModelSpec& model, const std::vector<Tokens>& windowed) {
    const auto* attention = attention_of(model.kinds[0]);
    if (!attention || attention->kv_heads % 2 != 0 || attention->heads % 2 != 0) return;
    LoweringContext two;
    two.shard.tp = 2;
    CHECK(2 * model.weight_bytes(two) ==
          Approx(model.weight_bytes({})).epsilon(2e-3));  // norms on both ranks
    CHECK(2 * model.kv_bytes_per_token(two) == model.kv_bytes_per_token({}));
    const auto batch = decodes(4, 1200, windowed);
    // Routers run on both ranks.
    const double router = std::holds_alternative<MoeParams>(model.kinds.back().ffn) ? 0.01 : 1e-3;
    CHECK(2 * sum(lowered(model, batch, 2), &Work::tensor_flops) ==
          Approx(sum(lowered(model, batch), &Work::tensor_flops)).epsilon(router));
  });
}

TEST_CASE("how many bytes does a token take in the KV cache?") {
  LoweringContext ctx;
  CHECK(load_model("llama-3.1-8b").kv_bytes_per_token(ctx) ==
        131072);  // 2 * 32 layers * 8 heads * 128 * 2 bytes
  CHECK(load_model("llama-2-7b").kv_bytes_per_token(ctx) == 524288);  // no grouping: 32 KV heads
  ctx.precision.kv_cache = DType::fp8;
  CHECK(load_model("llama-3.1-70b").kv_bytes_per_token(ctx) == 163840);
  ctx.shard.tp = 8;
  CHECK(load_model("llama-3.1-70b").kv_bytes_per_token(ctx) == 20480);
}

TEST_CASE("do the parts by scaling make up the whole step?") {
  auto batch = decodes(8, 8000);
  batch.chunks = {{512, 1024}, {16, 0}};
  LoweringContext ctx;
  ctx.shard.tp = 4;
  const StepLowering step(load_model("llama-3.1-8b"), ctx);
  KernelCalls whole, parts;
  step.lower(batch, whole);
  using enum KernelClass::Scaling;
  for (const auto scaling : {tokens, logits, decode, prefill}) {
    const auto before = parts.size();
    step.lower(batch, scaling, parts);
    for (auto i = before; i < parts.size(); ++i) CHECK(parts[i].cls->scaling == scaling);
  }
  CHECK(parts.size() == whole.size());
  CHECK(sum(parts, &Work::tensor_flops) == Approx(sum(whole, &Work::tensor_flops)));
}

TEST_CASE("are splits that do not divide the model refused with those that do?") {
  const auto model = load_model("llama-3.1-8b");
  CHECK_NOTHROW(check_split(model, {8, 1, 1, 1}));
  CHECK_NOTHROW(check_split(model, {16, 1, 1, 1}));  // KV heads replicated
  CHECK_THROWS_AS(check_split(model, {0, 1, 1, 1}), ConfigError);
  CHECK_THROWS_WITH(check_split(model, {1, 1, 1, 8}), Catch::Contains("expert"));
  try {
    check_split(model, {3, 1, 1, 1});
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(std::string(e.what()) ==
          "llama-3.1-8b: 32 attention heads, 8 KV heads and a feed-forward width of 14336 cannot be divided "
          "among 3 "
          "tensor-parallel ranks");
    CHECK(e.hint() == "valid sizes: 1, 2, 4, 8, 16, 32");
  }
}

TEST_CASE("does a sequence keep what a filter or levels of states need at its length?") {
  // Hyena has no recurrent form: its inputs stay, two bytes per channel and token.
  StateParams filter;
  filter.rule = StateRule::lti, filter.channels = 1024, filter.output = OutputGate::product;
  // Log-linear attention: a state per bit set in the number of chunks of 64, beside the one being filled.
  StateParams levels;
  levels.rule = StateRule::ssd, levels.heads = 8, levels.key_heads = 1;
  levels.key_dim = 128, levels.value_dim = 64, levels.levels = true;
  const auto model = [](const StateParams& mixer) {
    ModelSpec m;
    m.hidden = 1024, m.vocab = 1000, m.max_model_len = 64 * 1000;
    LayerKind kind;
    kind.mixers = {mixer}, kind.count = 3;
    m.kinds = {kind}, m.pattern = {0, 0, 0};
    return m;
  };
  CHECK(model(filter).kv_bytes_per_token({}) == 3 * 1024 * 2);
  CHECK(model(filter).sequence_bytes(500, {}) == 3 * 500 * 1024 * 2);
  // Of 0 to 1000 chunks 511 has most bits: nine.
  CHECK(model(levels).sequence_bytes(500, {}) == 3 * 10 * 8 * 128.0 * 64 * 4);
  CHECK(model(levels).kv_bytes_per_token({}) == 0);
}

TEST_CASE("what do residual streams, compressors and their indexer cost a token of DeepSeek-V4?") {
  ModelSpec v4 = import_config(
      JsonDocument::parse(R"({"architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
    "hidden_size": 4096, "num_hidden_layers": 3, "num_attention_heads": 64, "head_dim": 512, "sliding_window": 128,
    "q_lora_rank": 1024, "o_groups": 8, "o_lora_rank": 1024, "compress_ratios": [0, 4, 128], "index_n_heads": 64,
    "index_head_dim": 128, "index_topk": 512, "hc_mult": 4, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 2048, "n_shared_experts": 1, "vocab_size": 1000, "max_position_embeddings": 65536,
    "torch_dtype": "bfloat16"})",
                          "config.json"),
      "v4");
  BatchShape batch;
  batch.chunks = {{4096, 0}};
  KernelCalls calls;
  v4.lower(batch, {}, calls);
  double summaries = 0, index = 0, moved = 0, mixing = 0;
  for (const auto& call : calls) {
    if (call.role == "summary_proj") summaries += call.repeat * call.work.tensor_flops;
    if (call.role == "index_q_proj" || call.role == "index_weights_proj")
      index += call.repeat * call.work.tensor_flops;
    if (call.role == "residual_read" || call.role == "residual_write") {
      mixing += call.repeat * call.work.vector_flops;
      moved += call.repeat * (call.work.hbm_read_bytes + call.work.hbm_write_bytes - call.work.weight_bytes);
    }
  }
  // Rows and gates of 512 for two summaries of 4 and one of 128, and of 128 for the indexer's two of 4.
  CHECK(summaries == 2.0 * 4096 * 4096 * (2 * 2 * 512 + 2 * 512 + 2 * 2 * 128));
  CHECK(index == 2.0 * 4096 * (1024 * 64 * 128 + 4096 * 64));
  // Twice in each of three layers: four streams read, mapped to 24 coefficients and mixed; then rewritten.
  const double d = 4096, streams = 4 * d;
  CHECK(mixing == 6 * 4096 * (2 * streams * 24 + 4 * streams + 2 * 5 * streams));
  const double elements = streams + d + streams + d + streams;
  CHECK(moved == 6 * 4096 * (2 * elements + 4 * (24 + 20)));
}
