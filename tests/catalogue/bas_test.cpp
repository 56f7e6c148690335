// BAS-01 to BAS-06: the quantities every other row modifies.

#include <map>

#include "catalogue/method.hpp"
#include "cost/capacity.hpp"
#include "cost/roofline.hpp"
#include "model/lower_blocks.hpp"
#include "model/model_spec.hpp"
#include "ops/linear.hpp"

using namespace orrery;

namespace {
double ffn_parameters(const ModelSpec& model) {
  double sum = 0;
  for (const auto& kind : model.kinds) {
    for (const auto& [op, scaling] : ffn_operators(kind.ffn, model.hidden))
      sum += kind.count * op->parameters();
  }
  return sum;
}
}  // namespace

TEST_CASE("BAS-01 does every shipped architecture have the parameters its authors count?") {
  // Billions, from papers, model cards and counts of safetensors; language models without their encoders.
  const std::map<std::string, double> published{{"llama-2-7b", 6.7384},
                                                {"llama-2-70b", 68.977},
                                                {"llama-3.1-8b", 8.0303},
                                                {"llama-3.1-70b", 70.554},
                                                {"llama-3.1-405b", 405.85},
                                                {"llama-4-scout", 107.77},
                                                {"llama-4-maverick", 400.71},
                                                {"mistral-nemo-12b", 12.248},
                                                {"qwen2.5-7b", 7.6156},
                                                {"qwen3-0.6b", 0.596},
                                                {"qwen3-8b", 8.191},
                                                {"qwen3-14b", 14.768},
                                                {"qwen3-32b", 32.762},
                                                {"qwen3-30b-a3b", 30.532},
                                                {"qwen3-235b-a22b", 235.09},
                                                {"mixtral-8x7b", 46.703},
                                                {"mixtral-8x22b", 140.62},
                                                {"deepseek-v2-lite", 15.7065},
                                                {"deepseek-v2", 235.74},
                                                {"deepseek-v3", 671.03},
                                                {"deepseek-v3.2", 671.88},
                                                {"glm-5", 743.91},
                                                {"kimi-k2", 1026.4},
                                                {"gpt-oss-120b", 116.829},
                                                {"gpt-oss-20b", 20.915},
                                                {"gemma-2-9b", 9.2417},
                                                {"gemma-3-4b", 3.880},
                                                {"mimo-v2-flash", 308.8},
                                                {"mamba-2.8b", 2.768},
                                                {"falcon-mamba-7b", 7.2727},
                                                {"mamba2-130m", 0.129},
                                                {"mamba2-2.7b", 2.703},
                                                {"codestral-mamba-7b", 7.285},
                                                {"rwkv7-1.5b", 1.5278},
                                                {"rwkv7-2.9b", 2.948},
                                                {"jamba-v0.1", 51.570},
                                                {"minimax-text-01", 456.09},
                                                {"qwen3-next-80b-a3b", 79.674},
                                                {"qwen3.5-35b-a3b", 34.66},
                                                {"kimi-linear-48b-a3b", 49.12},
                                                {"nemotron-h-56b", 56.32},
                                                {"nemotron-3-nano-30b-a3b", 31.58},
                                                {"nemotron-super-49b", 49.867},
                                                {"falcon-h1-7b", 7.5855},
                                                {"granite-4.0-h-tiny", 6.939},
                                                {"lfm2-2.6b", 2.569},
                                                {"llada-8b", 8.0156},
                                                {"dream-7b", 7.6156},
                                                {"minicpm3-4b", 4.0739},
                                                {"nemotron-3-super-120b-a12b", 120.67}};
  for (const auto& [name, billions] : published) {
    const ModelSpec model = load_model(name);
    INFO(name);
    const double encoder = model.encoder ? model.encoder->parameters() : 0;
    CHECK((model.parameters() - encoder) * 1e-9 == Approx(billions).epsilon(0.001));
  }
}

TEST_CASE("BAS-02 does Llama-2-7B keep half a MiB per token?") {
  // 2 (K and V) x 32 layers x 32 heads x 128 x 2 bytes.
  const ModelSpec model = load_model("llama-2-7b");
  CHECK(std::get<AttentionParams>(model.kinds.front().mixers.front()) ==
        block_of<AttentionParams>("BAS-02", "attention"));
  CHECK(model.kv_bytes_per_token({}) == 524288);
  CHECK(model.sequence_bytes(262144, {}) == 128.0 * (1 << 30));
}

TEST_CASE("BAS-03 do 54 sequences of 2048 tokens fit beside Llama-2-7B in 80 GB?") {
  // floor((0.9 x 80e9 - 13.48e9) / (2048 x 524288)), without activations and workspaces.
  DeviceProfile device = load_device("a100-sxm-80g");
  device.memory_bytes = 80e9;
  const MemoryPolicy policy;  // 0.9 of the memory, blocks of 16
  const auto capacity = kv_capacity(load_model("llama-2-7b"), {}, device, policy, 2048, 4096);
  CHECK(std::floor(capacity.concurrency(2048)) == Approx(54).margin(1));
}

TEST_CASE("BAS-04 does a 16-bit product on an A100 turn from memory to compute near 156 rows?") {
  const RooflineModel ideal(load_device("a100-sxm-80g"), {}, AnalyticEfficiency::ideal());
  constexpr std::int64_t side = 16384;
  const Linear matrix("square", {{side, 1}}, {{side, 1}}, TensorSplit::columns, false);
  const auto seconds = [&](std::int64_t rows) {
    BatchShape batch;
    batch.chunks = {{rows, 0}};
    KernelCalls calls;
    matrix.lower(batch, {}, calls);
    return ideal.price(calls.front()).time.value;
  };
  // Time by memory: W, x and y once, at the bandwidth that one row shows.
  const auto bytes = [](std::int64_t rows) { return 2.0 * side * (side + 2.0 * static_cast<double>(rows)); };
  const double bandwidth = bytes(1) / seconds(1);
  CHECK(bandwidth == Approx(2.039e12).epsilon(0.01));
  std::int64_t turn = 1;
  while (seconds(turn) < 1.001 * bytes(turn) / bandwidth) ++turn;
  CHECK(static_cast<double>(turn) == Approx(156).epsilon(0.05));
}

TEST_CASE("BAS-05 do feed-forwards hold 64% of Llama-2-7B's parameters and 82% of 70B's?") {
  const ModelSpec small = load_model("llama-2-7b");
  ModelSpec large = load_model("llama-2-70b");
  CHECK(ffn_parameters(small) / small.parameters() == Approx(0.6424).margin(0.00005));
  CHECK(ffn_parameters(large) / large.parameters() == Approx(0.8173).margin(0.00005));
  // As Zhou et al. count: three matrices of vocabulary x hidden, and 70B without groups.
  const auto third = [](const ModelSpec& m) { return static_cast<double>(m.vocab * m.hidden); };
  CHECK(ffn_parameters(small) / (small.parameters() + third(small)) == Approx(0.6301).margin(0.00005));
  std::get<AttentionParams>(large.kinds.front().mixers.front()).kv_heads = 64;
  CHECK(ffn_parameters(large) / (large.parameters() + third(large)) == Approx(0.7169).margin(0.00005));
}

TEST_CASE("BAS-06 do pages of the KV cache cost decode attention what was measured?") {
  SKIP_UNTIL_MEASURED("paged and contiguous decode attention on one device");
}
