// HYB-01 to HYB-06: layers, heads or positions of different mixers.

#include <cmath>

#include "catalogue/method.hpp"
#include "cost/roofline.hpp"
#include "model/config_import.hpp"
#include "model/model_spec.hpp"

using namespace orrery;

namespace {
constexpr double kGiBytes = 1 << 30;

ModelSpec llama(const Json& sizes) {
  Json config{{"model_type", "llama"},
              {"architectures", {"LlamaForCausalLM"}},
              {"torch_dtype", "bfloat16"},
              {"max_position_embeddings", 131072}};
  config.update(sizes);
  return import_config(JsonDocument::parse(config.dump(1), "config.json"), "llama");
}

KernelCalls lowered(const ModelSpec& model, const BatchShape& batch) {
  KernelCalls calls;
  model.lower(batch, {}, calls);
  return calls;
}
double total(const KernelCalls& calls, double Work::*field) {
  double sum = 0;
  for (const auto& call : calls) sum += call.repeat * (call.work.*field);
  return sum;
}
BatchShape prompt(Tokens tokens) {
  BatchShape batch;
  batch.chunks = {{tokens, 0}};
  return batch;
}
/// One sequence of n tokens decoding one more.
BatchShape step(const ModelSpec& model, Tokens n) {
  BatchShape batch;
  batch.decode_seqs = 1, batch.decode_context = n;
  for (const KeyCap& cap : model.caps()) batch.windowed_context.push_back(cap.of(n));
  return batch;
}

/// One layer of the mixers.
ModelSpec one_layer(std::int64_t hidden, std::vector<Mixer> mixers) {
  ModelSpec model;
  model.hidden = hidden, model.vocab = 32000, model.max_model_len = 1 << 20;
  LayerKind kind;
  kind.mixers = std::move(mixers), kind.count = 1;
  model.kinds = {kind}, model.pattern = {0};
  return model;
}
}  // namespace

TEST_CASE("HYB-01 does Jamba keep 4 GiB at 256K tokens where Mixtral keeps 32 and Llama-2-7B 128?") {
  // Lieber et al., 2024, table 1 (16-bit keys and values); 4 of Jamba's 32 layers attend.
  const auto kv = [](const char* name) {
    return load_model(name).kv_bytes_per_token({}) * 262144 / kGiBytes;
  };
  CHECK(kv("jamba-v0.1") == 4);
  CHECK(kv("mixtral-8x7b") == 32);
  CHECK(kv("llama-2-7b") == 128);
  const ModelSpec jamba = load_model("jamba-v0.1");
  CHECK(std::count_if(jamba.kinds.begin(), jamba.kinds.end(), [](const LayerKind& k) {
          return k.mixers.front() == Mixer(block_of<AttentionParams>("HYB-01", "attention"));
        }) == 1);
  // Kimi Linear: 7 of 27 layers cache latents of 512 + 64 ("up to 75%").
  const double all = 27.0 * (512 + 64) * 2;
  CHECK(1 - load_model("kimi-linear-48b-a3b").kv_bytes_per_token({}) / all == Approx(0.741).margin(0.0005));
}

TEST_CASE("HYB-02 is Hymba's cache at 8192 tokens 11.6 times smaller than Llama-3.2-3B's?") {
  // Units of 1000 x 1024 bytes, as Dong et al., 2024, table 2 (79 against 918). 128 meta tokens come first:
  // 3 layers keep 8320 tokens, 29 keep 1024 + 128; 32 states of 3200 x 16 in fp32.
  constexpr double unit = 1000 * 1024;
  ModelSpec hymba = load_model("hymba-1.5b");
  for (auto& kind : hymba.kinds) {
    for (auto& mixer : kind.mixers) {
      if (auto* state = std::get_if<StateParams>(&mixer)) state->conv = {};  // its inputs are not counted
    }
  }
  CHECK(hymba.sequence_bytes(8192 + 128, {}) / unit == Approx(57.76).margin(0.005));  // 14 groups share
  for (auto& kind : hymba.kinds) {
    for (auto& mixer : kind.mixers) {
      if (auto* attention = std::get_if<AttentionParams>(&mixer)) attention->owns_kv = true;
    }
  }
  const double separate = hymba.sequence_bytes(8192 + 128, {});
  CHECK(separate / unit == Approx(79.36).margin(0.005));
  const auto llama3b = llama({{"hidden_size", 3072},
                              {"num_hidden_layers", 28},
                              {"num_attention_heads", 24},
                              {"num_key_value_heads", 8},
                              {"intermediate_size", 8192},
                              {"vocab_size", 128256},
                              {"tie_word_embeddings", true}});
  CHECK(llama3b.sequence_bytes(8192, {}) / unit == Approx(917.5).margin(0.05));
  CHECK(llama3b.sequence_bytes(8192, {}) / separate == Approx(11.56).margin(0.005));
}

TEST_CASE("HYB-03 does a decoder-decoder keep one layer's keys and values, and stop prompts half-way?") {
  const ModelSpec yoco = load_model("yoco-3b");
  CHECK_FALSE(std::get<AttentionParams>(yoco.kinds.back().mixers.front()).owns_kv);
  CHECK(yoco.kv_bytes_per_token({}) == 2 * 8 * 128 * 2);  // 26 times less than 26 layers of their own
  // A prompt needs the self-decoder alone (section 2.3): half of the layers, and of the FLOPs but for
  // windows.
  ModelSpec self = yoco;
  self.kinds = {yoco.kinds.front()};
  self.pattern.resize(13);
  self.kinds.front().count = 13;
  REQUIRE(yoco.pattern[12] == 0);
  ModelSpec everywhere = yoco;
  for (auto& kind : everywhere.kinds) kind.last_token = false;
  const double half = total(lowered(self, prompt(1024)), &Work::tensor_flops);
  const double whole = total(lowered(everywhere, prompt(1024)), &Work::tensor_flops);
  CHECK(half / whole == Approx(0.5).margin(0.03));
  // An engine computes the layer that writes the cache too, and one token of the other twelve.
  const double computed = total(lowered(yoco, prompt(1024)), &Work::tensor_flops);
  CHECK(computed / whole == Approx(14.0 / 26).margin(0.03));
  CHECK(computed > half);
  // Decoding runs through all of them.
  CHECK(total(lowered(yoco, step(yoco, 1000)), &Work::tensor_flops) ==
        total(lowered(everywhere, step(yoco, 1000)), &Work::tensor_flops));
}

TEST_CASE("HYB-04 is a shared block stored once and read at each use?") {
  constexpr int uses = 9;
  auto shared = block_of<AttentionParams>("HYB-04", "attention");
  ModelSpec model = one_layer(2560, {shared});
  model.kinds.front().count = uses, model.pattern.assign(uses, 0);
  const double separate = model.weight_bytes({});
  const double read = total(lowered(model, step(model, 1)), &Work::weight_bytes);
  model.kinds.front().copies = 1;
  // q, k, v from two streams of 2560, o back to one; the norm of both before them.
  const double block = 2.0 * (5120 * 3 * 5120 + 5120 * 2560 + 5120);
  CHECK(separate - model.weight_bytes({}) == Approx((uses - 1) * block));
  CHECK(total(lowered(model, step(model, 1)), &Work::weight_bytes) == read);

  // Zamba2-2.7B: two blocks used nine times; adapters and projections are each use's own.
  const ModelSpec zamba = load_model("zamba2-2.7b");
  ModelSpec unshared = zamba;
  for (auto& kind : unshared.kinds) kind.copies = 0;
  const double whole = 2.0 * (5120 * 3 * 5120 + 5120 * 2560 + 5120 + 3.0 * 2560 * 10240 + 2560);
  CHECK(unshared.weight_bytes({}) - zamba.weight_bytes({}) == Approx((9 - 2) * whole));
  CHECK(total(lowered(zamba, step(zamba, 1)), &Work::weight_bytes) ==
        total(lowered(unshared, step(zamba, 1)), &Work::weight_bytes));
}

TEST_CASE("HYB-05 is the step time continuous where attention hands over to a state?") {
  // Direction only: up to the switch a token reads one key more per step, after it the state alone changes.
  const ModelSpec model = one_layer(
      4096, {block_of<AttentionParams>("HYB-05", "attention"), block_of<StateParams>("HYB-05", "state")});
  const RooflineModel ideal(load_device("a100-sxm-80g"), {}, AnalyticEfficiency::ideal());
  const auto seconds = [&](Tokens n) {
    double sum = 0;
    for (const auto& call : lowered(model, step(model, n))) sum += call.repeat * ideal.price(call).time.value;
    return sum;
  };
  const double key = 2 * 8 * 128 * 2 / 2.0e12;
  CHECK(seconds(4096) - seconds(4095) >= 0);
  CHECK(seconds(4096) - seconds(4095) <= 1.1 * key);
  CHECK(seconds(4097) == seconds(4096));
  CHECK(seconds(1 << 20) == seconds(4096));
}

TEST_CASE("HYB-06 does a sequence keep fast weights and a window, whatever its length?") {
  const auto state = block_of<StateParams>("HYB-06", "state");
  const auto window = block_of<AttentionParams>("HYB-06", "attention");
  const ModelSpec model = one_layer(2048, {window, state});
  const double at_window = model.sequence_bytes(2048, {});
  CHECK(model.sequence_bytes(1 << 20, {}) == at_window);
  // 2048 tokens of 2 x 32 heads of 64 in 16 bits: 16 MiB.
  CHECK(at_window - one_layer(2048, {state}).sequence_bytes(2048, {}) == 16.0 * (1 << 20));
  CHECK(state.chunk == 2048);
}
