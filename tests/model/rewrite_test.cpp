#include "model/rewrite.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/model_spec.hpp"
#include "ops/equal_sequences.hpp"

using namespace orrery;

namespace {

/// What a step of prompts and of decodes runs, lowered: throws where a rewritten layer makes no sense.
double step_flops(const ModelSpec& model) {
  BatchShape batch = equal_decodes(model.caps(), 4, 9000);
  batch.chunks = {{2048, 512}};
  KernelCalls calls;
  model.lower(batch, {}, calls);
  double sum = 0;
  for (const auto& call : calls) sum += call.repeat * (call.work.tensor_flops + call.work.vector_flops);
  return sum;
}

std::string error_of(const std::string& model, std::string* hint = nullptr) {
  try {
    load_model(model);
  } catch (const ConfigError& error) {
    if (hint != nullptr) *hint = error.hint();
    return error.what();
  }
  return "";
}

bool same_layers(const ModelSpec& a, const ModelSpec& b) {
  if (a.kinds.size() != b.kinds.size() || a.pattern != b.pattern) return false;
  for (std::size_t i = 0; i < a.kinds.size(); ++i) {
    if (!a.kinds[i].same_kind(b.kinds[i]) || a.kinds[i].count != b.kinds[i].count) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("rewrite: does a base with its conversion become the model that was trained so?") {
  // Dream-7B is Qwen2.5-7B with a mask that looks both ways (Ye et al., 2025).
  CHECK(same_layers(load_model("qwen2.5-7b+DIF-03"), load_model("dream-7b")));
  // Mixtral's layers are Mistral's with eight feed-forwards of Mistral's width (Jiang et al., 2024).
  CHECK(load_model("mistral-7b-v0.1+MOE-01").parameters() == load_model("mixtral-8x7b").parameters());
  // LLaVA-1.5 is Vicuna (Llama-2) behind CLIP and two matrices (Liu et al., 2023).
  CHECK(load_model("llama-2-7b+MM-04").parameters() ==
        Approx(load_model("llava-1.5-7b").parameters()).epsilon(1e-3));
}

TEST_CASE("rewrite: does every row apply to some model or say why to none?") {
  for (const auto& row : load_methods()) {
    INFO(row.id);
    if (!why_no_rewrite(row).empty()) {
      CHECK_THROWS_AS(rewrite(load_model("llama-2-7b"), row), ConfigError);
      continue;
    }
    bool applied = false;
    for (const auto* base : {"llama-2-7b", "llama-3.1-8b", "qwen3-30b-a3b"}) {
      try {
        const ModelSpec model = rewrite(load_model(base), row);
        CHECK(model.layers() == load_model(base).layers());
        CHECK(step_flops(model) > 0);
        applied = true;
      } catch (const ConfigError& error) {
        UNSCOPED_INFO(base << ": " << error.what());
      }
    }
    const bool bidirectional =
        row.blocks.contains("attention") &&
        row.blocks.at("attention").dump().find("\"causal\":false") != std::string::npos;
    const bool encoder = row.blocks.contains("encoder");
    CHECK((applied || bidirectional || encoder));
  }
}

TEST_CASE("rewrite: does a pattern keep heads and weights and change what is read?") {
  const ModelSpec llama = load_model("llama-3.1-8b"), sparse = load_model("llama-3.1-8b+SPA-18");
  CHECK(sparse.name == "llama-3.1-8b+SPA-18");
  const auto *before = attention_of(llama.kinds.front()), *after = attention_of(sparse.kinds.front());
  REQUIRE(after != nullptr);
  CHECK(after->heads == before->heads);
  CHECK(after->kv_heads == before->kv_heads);
  // NSA, table 4: a decode at 65,536 tokens reads 5,632 of them (65536 / 16 + 1024 + 512).
  CHECK(value_of(after->decode_terms(), 65536) == Approx(5632).epsilon(0.002));
  CHECK(value_of(before->decode_terms(), 65536) == 65536);
  // Sinks and a window of 4,096 in all: a sequence keeps no more, however long.
  const ModelSpec streaming = load_model("llama-3.1-8b+SPA-33");
  CHECK(streaming.sequence_bytes(100000, {}) == 4096 * llama.kv_bytes_per_token({}));
  CHECK(streaming.parameters() == llama.parameters());
}

TEST_CASE("rewrite: does a pattern reach only the layers that see everything?") {
  const ModelSpec gemma = load_model("gemma-2-9b"), sparse = load_model("gemma-2-9b+SPA-37");
  std::size_t changed = 0;
  for (std::size_t i = 0; i < gemma.pattern.size(); ++i) {
    const auto& a = gemma.kinds[static_cast<std::size_t>(gemma.pattern[i])];
    const auto& b = sparse.kinds[static_cast<std::size_t>(sparse.pattern[i])];
    if (a.same_kind(b)) continue;
    ++changed;
    CHECK(attention_of(a)->pattern == AttentionPattern{});
  }
  CHECK(changed == gemma.pattern.size() / 2);  // Gemma 2: every second layer is local
}

TEST_CASE("rewrite: do hybrids keep attention where their row says?") {
  // Jamba: attention on one layer of eight, the fourth (Lieber et al., 2024).
  const ModelSpec llama = load_model("llama-3.1-8b"), hybrid = load_model("llama-3.1-8b+HYB-01");
  CHECK(hybrid.kv_bytes_per_token({}) == llama.kv_bytes_per_token({}) / 8);
  for (int layer = 0; layer < hybrid.layers(); ++layer) {
    const auto& kind =
        hybrid.kinds[static_cast<std::size_t>(hybrid.pattern[static_cast<std::size_t>(layer)])];
    CHECK(std::holds_alternative<AttentionParams>(kind.mixers.front()) == (layer % 8 == 4));
  }
  // Hymba: both in each layer.
  CHECK(load_model("llama-3.1-8b+HYB-02").kinds.front().mixers.size() == 2);
}

TEST_CASE("rewrite: do rows chain, each on what the last one made?") {
  const ModelSpec model = load_model("meta-llama/Llama-2-7b-hf+moe-13+CMP-05");
  CHECK(model.name == "llama-2-7b+MOE-13+CMP-05");
  CHECK(std::get<MoeParams>(model.kinds.front().ffn).experts == 16);
  CHECK(model.native.linear(Module::experts).weight == DType::int4);
  CHECK(model.native.linear(Module::mixer).compute == model.native.activation);
  // Half the weights kept and those in 4 bits: the later format keeps the sparsity.
  const Precision both = load_model("llama-2-7b+CMP-16+CMP-02").native;
  CHECK(both.linear(Module::ffn).sparsity.keep == 2);
  CHECK(both.linear(Module::ffn).weight == DType::int4);
}

TEST_CASE("rewrite: does a row that does not apply say why, and which rows do?") {
  std::string hint;
  CHECK(error_of("falcon-mamba-7b+SPA-18", &hint) ==
        "SPA-18 cannot be applied: falcon-mamba-7b has no attention that it could change");
  CHECK(hint.find("CMP-") != std::string::npos);
  CHECK(error_of("qwen3-30b-a3b+MOE-01", &hint) ==
        "MOE-01 cannot be applied: it makes experts of dense feed-forwards, and qwen3-30b-a3b has experts "
        "already");
  CHECK(hint.find("MOE-0") != std::string::npos);
  CHECK(error_of("llama-2-7b+BAS-04") == "BAS-04 cannot be applied: " + find_method("BAS-04").no_rewrite);
  CHECK(error_of("llama-2-7b+ENG-12") ==
        "ENG-12 cannot be applied: it describes decoding: --speculative-config");
  CHECK(error_of("llama-2-7b+SPA-10") ==
        "SPA-10 cannot be applied: its pattern sees later tokens, and llama-2-7b generates token by token");
  CHECK(error_of("llama-2-7b+SPA-99") == "unknown method 'SPA-99'");
  CHECK(error_of("lama-2-7b+SPA-18") == "unknown model 'lama-2-7b'");
}
