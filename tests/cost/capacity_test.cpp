#include "cost/capacity.hpp"

#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <catch2/catch.hpp>

#include "base/json.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {

struct Sizes {
  std::string name;
  int layers, hidden, heads, kv_heads, ffn, vocab;
  Tokens max_model_len;
};

ModelSpec dense(const Sizes& s, int head_dim = 128) {
  ModelSpec m;
  m.name = s.name;
  m.hidden = s.hidden;
  m.vocab = s.vocab;
  m.max_model_len = s.max_model_len;
  LayerKind kind;
  AttentionParams attention;
  attention.heads = s.heads, attention.kv_heads = s.kv_heads, attention.head_dim = head_dim;
  kind.mixers = {attention};
  kind.ffn = DenseParams{s.ffn};
  kind.count = s.layers;
  m.kinds = {kind};
  m.pattern.assign(static_cast<std::size_t>(s.layers), 0);
  return m;
}

// From the published config.json files.
const Sizes kLlama70{"llama-3.1-70b", 80, 8192, 64, 8, 28672, 128256, 131072};
const Sizes kLlama2_7{"llama-2-7b", 32, 4096, 32, 32, 11008, 32000, 4096};

LoweringContext bf16(int tp) {
  LoweringContext ctx;
  ctx.shard.tp = tp;
  return ctx;
}

/// A device with round figures, so that the expected numbers can be worked out by hand.
DeviceProfile card(double gib) {
  DeviceProfile d;
  d.name = "card";
  d.memory_bytes = gib * kGiB;
  return d;
}

/// vLLM's meaning without any overhead.
MemoryPolicy plain(double fraction) {
  MemoryPolicy p;
  p.fraction = fraction;
  return p;
}

/// The policy of calibration/engines/vllm/0.15.1.json, read here without the layer that resolves engines.
MemoryPolicy vllm_0_15(std::int64_t max_num_seqs) {
  const auto file =
      JsonDocument::load(std::string(ORRERY_SOURCE_DIR) + "/calibration/engines/vllm/0.15.1.json");
  const auto figure = [&](const char* key) {
    return file->root().at("memory").at(key).at("value").get<double>();
  };
  MemoryPolicy p = plain(0.9);
  p.non_torch_bytes = figure("non_torch_bytes");
  p.activation_bytes_fixed = figure("activation_bytes_fixed");
  p.activation_bytes_per_token = figure("activation_bytes_per_token");
  p.activation_bytes_per_token_ffn = figure("activation_bytes_per_token_ffn");
  p.sampler_bytes_per_vocab = figure("sampler_bytes_per_vocab");
  p.sampler_bytes_per_logit = figure("sampler_bytes_per_logit");
  p.max_num_seqs = max_num_seqs;
  return p;
}

struct Refusal {
  std::string message, hint;
  ExitCode code = ExitCode::ok;
};

Refusal refusal(const ModelSpec& m, int tp, const DeviceProfile& d, const MemoryPolicy& p, Tokens len) {
  try {
    kv_capacity(m, bf16(tp), d, p, 8192, len);
  } catch (const ConfigError& e) {
    return {e.what(), e.hint(), e.code()};
  }
  return {};
}

}  // namespace

// One layer, 1 KV head of 128 in bf16: 512 bytes a token, 8 KiB a block of 16. A vocabulary of 0 and hidden
// size 0 would be no model, so the weights are asked of the model and taken away.
TEST_CASE("is the number of blocks the whole part of what memory is left?") {
  auto m = dense({"tiny", 1, 256, 2, 1, 512, 1000, 0});
  const double weights = m.weight_bytes(bf16(1));
  const double block = 16 * 2 * 128 * 2;
  auto d = card(1);
  d.memory_bytes = (weights + 10 * block) / 0.5;
  CHECK(kv_capacity(m, bf16(1), d, plain(0.5), 2048, 0).blocks == 10);
  d.memory_bytes = (weights + 10 * block - 1) / 0.5;
  CHECK(kv_capacity(m, bf16(1), d, plain(0.5), 2048, 0).blocks == 9);
  const auto c = kv_capacity(m, bf16(1), d, plain(0.5), 2048, 0);
  CHECK(c.block_bytes == block);
  CHECK(c.tokens() == 8 * 16);  // one block is the engine's null block
}

TEST_CASE("does a larger split leave more blocks, and an FP8 cache twice as many?") {
  const auto m = dense(kLlama70);
  const auto d = card(140);
  const auto tp2 = kv_capacity(m, bf16(2), d, plain(0.9), 2048, 0);
  const auto tp4 = kv_capacity(m, bf16(4), d, plain(0.9), 2048, 0);
  CHECK(tp4.weight_bytes < 0.51 * tp2.weight_bytes);
  CHECK(tp4.blocks > 2 * tp2.blocks);
  auto ctx = bf16(2);
  ctx.precision.kv_cache = DType::fp8;
  const auto fp8 = kv_capacity(m, ctx, d, plain(0.9), 2048, 0);
  CHECK(std::llabs(fp8.blocks - 2 * tp2.blocks) <= 1);
}

TEST_CASE("what do the three engines mean by their memory fraction?") {
  const auto m = dense(kLlama2_7);
  const auto d = card(80);
  auto p = plain(0.9);
  p.non_torch_bytes = 2 * kGiB;
  const double weights = m.weight_bytes(bf16(1)), rotary = 4096.0 * 128 * 2;
  CHECK(kv_capacity(m, bf16(1), d, p, 2048, 0).kv_bytes ==
        Approx(72 * kGiB - weights - 2 * kGiB - rotary).epsilon(1e-9));
  p.fraction_of = MemoryPolicy::Fraction::of_free;
  CHECK(kv_capacity(m, bf16(1), d, p, 2048, 0).kv_bytes ==
        Approx(0.9 * (80 * kGiB - weights - 2 * kGiB - rotary)).epsilon(1e-9));
}

TEST_CASE("does the activation peak follow the larger of the layers and the sampler?") {
  const auto m = dense(kLlama2_7);
  auto p = plain(0.9);
  p.activation_bytes_per_token = 8;
  p.activation_bytes_per_token_ffn = 6;
  p.sampler_bytes_per_logit = 50;
  p.max_num_seqs = 128;
  const auto overhead = [&](Tokens budget) {
    return kv_capacity(m, bf16(1), card(80), p, budget, 0).overhead_bytes;
  };
  const double layers_per_token = 8.0 * 4096 + 6.0 * 11008;
  CHECK(overhead(32768) - overhead(16384) == Approx(16384 * layers_per_token).epsilon(1e-9));
  CHECK(overhead(1024) == overhead(512));  // the sampler's 128 rows of logits are larger
  p.max_num_seqs = 1024;
  CHECK(overhead(512) > 50.0 * 1024 * 32000);
}

// 70.55e9 parameters in 2 bytes: 131.4 GiB.
TEST_CASE("does a model that does not fit say what would?") {
  auto h200 = card(139.8);
  h200.name = "h200-sxm";
  h200.tensor_flops_per_s[static_cast<std::size_t>(DType::fp8)] = 2e15;
  const auto r = refusal(dense(kLlama70), 1, h200, plain(0.92), 0);
  CHECK(r.code == ExitCode::infeasible);
  CHECK_THAT(r.message,
             Catch::Contains("model does not fit: llama-3.1-70b bf16 weights are 131.4 GiB per GPU at tp1"));
  CHECK_THAT(r.message, Catch::Contains("h200-sxm offers 128.6 GiB (139.8 x gpu_memory_utilization 0.92)"));
  CHECK_THAT(r.hint, Catch::Contains("--tensor-parallel-size 2 leaves 6"));
  CHECK_THAT(r.hint, Catch::Contains("--quantization fp8 (6"));

  // Without 8-bit arithmetic FP8 is no way out, and a model nothing can hold says so.
  h200.tensor_flops_per_s = {};
  CHECK_THAT(refusal(dense(kLlama70), 1, h200, plain(0.92), 0).hint, !Catch::Contains("fp8"));
  CHECK_THAT(refusal(dense(kLlama70), 1, card(2), plain(0.9), 0).hint, Catch::Contains("no split"));
}

TEST_CASE("is a cache smaller than one longest request refused with a length that fits?") {
  const auto m = dense(kLlama70);
  const auto d = card(80);
  const auto room = kv_capacity(m, bf16(2), d, plain(0.9), 2048, 0).tokens();
  CHECK_NOTHROW(kv_capacity(m, bf16(2), d, plain(0.9), 2048, room));
  const auto r = refusal(m, 2, d, plain(0.9), room + 1);
  CHECK(r.code == ExitCode::infeasible);
  CHECK_THAT(r.message, Catch::Contains("holds " + std::to_string(room) + " tokens"));
  CHECK_THAT(r.hint, Catch::Contains("--max-model-len " + std::to_string(room)) &&
                         Catch::Contains("--tensor-parallel-size 4"));
}

TEST_CASE("does an engine without groups of blocks keep everything in every layer?") {
  auto m = dense(kLlama2_7);
  auto windowed = m.kinds.front();
  auto attention = std::get<AttentionParams>(windowed.mixers.front());
  attention.pattern = AttentionPattern(1024);
  windowed.mixers = {attention};
  m.kinds.front().count = windowed.count = 16;
  m.kinds.push_back(windowed);
  auto policy = plain(0.9);
  const auto grouped = kv_capacity(m, bf16(1), card(80), policy, 2048, 0);
  policy.hybrid_groups = false;
  const auto whole = kv_capacity(m, bf16(1), card(80), policy, 2048, 0);
  CHECK(whole.keeps_everything());
  CHECK(whole.block_bytes == 16 * 524288);  // Llama-2-7B: 524,288 bytes a token (BAS-02)
  CHECK(!grouped.keeps_everything());
  CHECK(grouped.block_bytes == whole.block_bytes / 2);
  CHECK(grouped.tokens() == Approx(whole.tokens()).epsilon(1e-3));  // as logged: one pool for both groups
  CHECK(10 * grouped.longest(1 << 20) > 19 * whole.longest(1 << 20));
}

namespace {

struct LoggedServer {
  std::string model;
  int tp = 1;
  Tokens budget = 0;
  std::int64_t max_num_seqs = 0, blocks = 0;
  auto operator<=>(const LoggedServer&) const = default;
};

std::int64_t number_after(const std::string& line, const std::string& key) {
  const auto at = line.find(key);
  return at == std::string::npos ? 0 : std::stoll(line.substr(at + key.size()));
}

/// The servers of the sim-to-real set that logged their block count.
std::set<LoggedServer> logged_servers(const std::string& data) {
  std::ifstream in(data + "/endtoend/blis_simtoreal_vllm_h100_a100_l40s.csv");
  std::set<LoggedServer> out;
  for (std::string line; std::getline(in, line);) {
    if (line.find("kv_blocks=") == std::string::npos) continue;
    std::stringstream fields(line);
    std::string hardware, gpus, model;
    std::getline(fields, hardware, ',');
    std::getline(fields, gpus, ',');
    std::getline(fields, model, ',');
    REQUIRE(hardware == "H100");
    out.insert({model, std::stoi(gpus), number_after(line, "mbt="), number_after(line, "max_num_seqs="),
                number_after(line, "kv_blocks=")});
  }
  return out;
}

}  // namespace

// The two coefficients of the sampler were fitted on Llama-2-7B and Qwen2.5-7B; the Mistral-Nemo servers were
// not used.
TEST_CASE("are the block counts that vLLM 0.15.1 logged predicted within 1%?") {
  REQUIRE_REFERENCE_DATA(data);
  const std::map<std::string, std::string> models = {
      {"meta-llama/Llama-2-7b-hf", "llama-2-7b"},
      {"Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"},
      {"mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo-12b"}};
  const auto servers = logged_servers(data);
  REQUIRE(servers.size() == 4);
  const auto h100 = load_device("h100");
  for (const auto& s : servers) {
    const auto c =
        kv_capacity(load_model(models.at(s.model)), bf16(s.tp), h100, vllm_0_15(s.max_num_seqs), s.budget, 0);
    const double error = static_cast<double>(c.blocks) / static_cast<double>(s.blocks) - 1;
    INFO(s.model << " tp" << s.tp << ": logged " << s.blocks << ", predicted " << c.blocks << ", error "
                 << 100 * error << "%, overhead " << c.overhead_bytes / kGiB << " GiB");
    CHECK(std::abs(error) < 0.01);
  }
}
