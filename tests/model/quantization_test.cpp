#include <algorithm>
#include <filesystem>
#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/config_import.hpp"
#include "model/quantization_modules.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {

Precision bf16() {
  return {};
}
Precision read(const Json& config, int layers = 0) {
  Precision p = bf16();
  std::vector<std::string> notes;
  read_quantization_config(JsonView(JsonDocument::parse(config.dump(), "config.json")), p, notes, layers);
  return p;
}
std::string refusal(const Json& config) {
  try {
    read(config);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}
double bits(const LinearFormat& f) {
  return 8 * stored_matrix_bytes(f, 4096, 4096) / (4096.0 * 4096);
}

/// Stored format x arithmetic.
std::string text(const LinearFormat& f) {
  return std::string(name(f.weight)) + "x" + std::string(name(f.compute));
}

/// A checkpoint's formats by its files, as both readers leave them.
struct Checkpoint {
  Precision precision;
  std::vector<std::string> notes;
  std::string of(Module m) const { return text(precision.linear(m)); }
};
Checkpoint checkpoint(const std::string& folder, const std::string& name) {
  Checkpoint c;
  if (const std::string path = folder + "/" + name + "_config.json"; std::filesystem::exists(path)) {
    const auto doc = JsonDocument::load(path);
    JsonView config(doc);
    auto text = config.object_if("text_config");
    const Json& inner = text ? text->value() : config.value();
    const int layers = inner.value("num_hidden_layers", 0);
    if (auto q = config.object_if("quantization_config")) {
      read_quantization_config(std::move(*q), c.precision, c.notes, layers);
    } else if (text) {
      if (auto nested = text->object_if("quantization_config"))
        read_quantization_config(std::move(*nested), c.precision, c.notes, layers);
    }
    if (const std::string own = folder + "/" + name + "_hf_quant_config.json"; std::filesystem::exists(own))
      read_hf_quant_config(JsonView(JsonDocument::load(own)), c.precision, c.notes, layers);
    read_expert_format(config, c.precision, c.notes);
  }
  return c;
}

}  // namespace

TEST_CASE("are the lists of what is left unquantised read as modules and layers?", "[quantization]") {
  struct Row {
    const char* name;
    std::vector<Module> modules;
    std::optional<int> layer;
  };
  const std::vector<Module> whole{Module::mixer, Module::mixer_output};
  const std::vector<Row> rows{
      {"lm_head", {}, {}},
      {"head", {}, {}},
      {"gate", {}, {}},
      {"model.layers.12.mlp.gate", {}, 12},
      {"model.layers.3.mlp.gate.e_score_correction_bias", {}, 3},
      {"model.layers.0.self_attn.indexer.k_norm.bias", {}, 0},
      {"backbone.layers.7.mixer.conv1d", {}, 7},
      {"model.visual*", {}, {}},
      {"mtp.layers.0*", {}, 0},
      {"model.language_model.layers.0.mlp.shared_expert_gate", {}, 0},
      {"model.layers.*.self_attn", whole, {}},
      {"re:.*self_attn.*", whole, {}},
      {"*.attn.*", whole, {}},
      {"model.language_model.layers.4.linear_attn*", whole, 4},
      {"model.layers.61.self_attn.q_a_proj", {Module::mixer}, 61},
      {"model.layers.0.self_attn.kv_a_proj_with_mqa", {Module::mixer}, 0},
      {"backbone.layers.5.mixer.out_proj", {Module::mixer_output}, 5},
      {"model.layers.2.self_attn.o_proj", {Module::mixer_output}, 2},
      {"re:.*shared_experts.*", {Module::ffn}, {}},
      {"re:.*mlp\\.(gate|up|gate_up|down)_proj.*", {Module::ffn}, {}},
      {"*.ffn.shared_experts.*", {Module::ffn}, {}},
      {"layers.10.ffn.experts", {Module::experts}, 10},
      {"model.layers.1.block_sparse_moe.experts.0.w1", {Module::experts}, 1},
      {"model.layers.0*", {Module::mixer, Module::mixer_output, Module::ffn, Module::experts}, 0},
      {"model.layers.1.*", {Module::mixer, Module::mixer_output, Module::ffn, Module::experts}, 1},
  };
  for (const auto& row : rows) {
    INFO(row.name);
    const auto found = understand_module_name(row.name);
    REQUIRE(found);
    CHECK(found->modules == row.modules);
    CHECK(found->layer == row.layer);
  }
  CHECK_FALSE(understand_module_name("model.layers.0.frobnicator"));
  CHECK_FALSE(understand_module_name("*"));
}

TEST_CASE("is a module left out when most of its layers are, and priced quantised when few are?",
          "[quantization]") {
  const auto excluding = [](int from, int to) {
    Json names = Json::array({"lm_head"});
    for (int i = from; i < to; ++i) names.push_back("model.layers." + std::to_string(i) + ".self_attn*");
    return read({{"quant_method", "fp8"}, {"modules_to_not_convert", names}}, 32);
  };
  CHECK(text(excluding(0, 32).linear(Module::mixer)) == "bf16xbf16");
  CHECK(text(excluding(0, 32).linear(Module::ffn)) == "fp8xfp8");
  CHECK(text(excluding(0, 20).linear(Module::mixer)) == "bf16xbf16");
  CHECK(text(excluding(0, 2).linear(Module::mixer)) == "fp8xfp8");
}

TEST_CASE("what do packed checkpoints store per weight, scales and zero points included?", "[quantization]") {
  const auto awq = read({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}, {"zero_point", true}});
  CHECK(bits(awq.linear(Module::ffn)) == 4.15625);
  const auto gptq = read({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}, {"sym", true}});
  CHECK(bits(gptq.linear(Module::mixer)) == 4.125);
  CHECK(gptq.linear(Module::mixer).compute == DType::bf16);
  const auto gptq32 = read({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}, {"sym", false}});
  CHECK(bits(gptq32.linear(Module::ffn)) == 4.625);
  const auto gptq3 = read({{"quant_method", "gptq"}, {"bits", 3}, {"group_size", 128}, {"sym", true}});
  CHECK(bits(gptq3.linear(Module::ffn)) == 3.125);
  const auto column = read({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", -1}, {"sym", true}});
  CHECK(bits(column.linear(Module::ffn)) == 4 + 16.0 / 4096);
  const auto nf4 = read({{"quant_method", "bitsandbytes"},
                         {"load_in_4bit", true},
                         {"bnb_4bit_quant_type", "nf4"},
                         {"bnb_4bit_use_double_quant", true}});
  CHECK(bits(nf4.linear(Module::ffn)) == Approx(4.127).margin(5e-4));
  const auto int8 =
      read({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}, {"llm_int8_threshold", 6.0}});
  CHECK(int8.linear(Module::ffn).outliers > 0);
  CHECK(text(int8.linear(Module::ffn)) == "int8xint8");
}

TEST_CASE("do compressed-tensors' groups, targets and sparsity become formats?", "[quantization]") {
  const Json float8{{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}};
  const Json int4{
      {"num_bits", 4}, {"type", "int"}, {"group_size", 128}, {"strategy", "group"}, {"symmetric", false}};
  const Json all{{"weights", float8}, {"input_activations", float8}, {"targets", {"Linear"}}};
  const Json experts{{"weights", int4}, {"targets", {"re:.*mlp.experts.*"}}};
  const auto p = read(
      {{"quant_method", "compressed-tensors"}, {"config_groups", {{"group_0", all}, {"group_1", experts}}}});
  CHECK(text(p.linear(Module::mixer)) == "fp8xfp8");
  CHECK(text(p.linear(Module::experts)) == "int4xbf16");
  CHECK(bits(p.linear(Module::experts)) == 4.15625);
  const auto sparse =
      read({{"quant_method", "compressed-tensors"},
            {"config_groups", {{"group_0", all}}},
            {"sparsity_config", {{"format", "sparse-24-bitmask"}, {"sparsity_structure", "2:4"}}}});
  CHECK(sparse.linear(Module::ffn).sparsity.keep == 2);
  CHECK(bits(sparse.linear(Module::ffn)) == 0.5 * (8 + 2) + 32.0 / 4096);
  const Json nvfp4{{"num_bits", 4}, {"type", "float"}, {"group_size", 16}, {"strategy", "tensor_group"}};
  const auto fp4 =
      read({{"quant_method", "compressed-tensors"},
            {"format", "nvfp4-pack-quantized"},
            {"config_groups",
             {{"group_0", {{"weights", nvfp4}, {"input_activations", nvfp4}, {"targets", {"Linear"}}}}}}});
  CHECK(text(fp4.linear(Module::ffn)) == "fp4xfp4");
  CHECK(bits(fp4.linear(Module::ffn)) == 4.5);
}

TEST_CASE("does MIXED_PRECISION give each module the algorithm of most of its layers?", "[quantization]") {
  Json layers;
  for (int i = 0; i < 8; ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".mixer.";
    layers[layer + "in_proj"] = {{"quant_algo", "FP8"}};
    layers[layer + "experts.0.up_proj"] = {{"quant_algo", i < 6 ? "NVFP4" : "FP8"}};
  }
  const auto p =
      read({{"quant_method", "modelopt"}, {"quant_algo", "MIXED_PRECISION"}, {"quantized_layers", layers}});
  CHECK(text(p.linear(Module::mixer)) == "fp8xfp8");
  CHECK(text(p.linear(Module::experts)) == "fp4xfp4");
  CHECK(text(p.linear(Module::ffn)) == "bf16xbf16");
}

TEST_CASE("are quantisations that are not understood refused by field, value and what is valid?",
          "[quantization]") {
  CHECK_THAT(refusal({{"quant_method", "squeezellm"}}), Catch::Contains("'squeezellm'"));
  CHECK_THAT(refusal({{"quant_method", "gptq"}, {"bits", 5}}), Catch::Contains("found 5"));
  CHECK_THAT(refusal({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 0}}),
             Catch::Contains("group_size"));
  CHECK_THAT(refusal({{"quant_method", "fp8"}, {"weight_block_size", {128}}}),
             Catch::Contains("weight_block_size"));
  CHECK_THAT(refusal({{"quant_method", "fp8"}, {"modules_to_not_convert", {"model.layers.0.frobnicator"}}}),
             Catch::Contains("frobnicator"));
  CHECK_THAT(refusal({{"quant_method", "modelopt"}, {"quant_algo", "INT3"}}), Catch::Contains("INT3"));
  CHECK_THAT(refusal({{"quant_method", "modelopt"}, {"quant_algo", "FP8"}, {"kv_cache_scheme", "INT2"}}),
             Catch::Contains("INT2"));
  CHECK_THAT(refusal({{"quant_method", "bitsandbytes"}}), Catch::Contains("load_in_4bit"));
  CHECK_THAT(refusal({{"quant_method", "fp8"}, {"rotation", true}}), Catch::Contains("rotation"));
}

TEST_CASE("does every published checkpoint's quantisation read as its model card says?", "[quantization]") {
  REQUIRE_REFERENCE_DATA(data);
  const std::string folder = data + "/model_configs";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    const std::string suffix = "_config.json";
    if (!file.ends_with(suffix) || file.ends_with("_hf_quant_config.json")) continue;
    INFO(file);
    CHECK_NOTHROW(checkpoint(folder, file.substr(0, file.size() - suffix.size())));
    ++files;
  }
  CHECK(files >= 60);

  struct Expected {
    const char* name;
    const char *mixer, *output, *ffn, *experts;
    DType kv;
  };
  const DType b = DType::bf16, f8 = DType::fp8;
  const Expected table[] = {
      {"deepseek-ai--DeepSeek-V3", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", b},
      {"MiniMaxAI--MiniMax-M2.5", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", b},
      {"Qwen--Qwen3-30B-A3B-FP8", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", b},
      {"zai-org--GLM-5-FP8", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", b},
      {"Qwen--Qwen3-32B", "bf16xbf16", "bf16xbf16", "bf16xbf16", "bf16xbf16", b},
      {"Qwen--Qwen3-32B-FP8-Static-PerTensor", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", f8},
      {"nvidia--Llama-3.1-70B-Instruct-FP8", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", f8},
      {"openai--gpt-oss-120b", "bf16xbf16", "bf16xbf16", "bf16xbf16", "fp4xbf16", b},
      {"moonshotai--Kimi-K2.5", "bf16xbf16", "bf16xbf16", "bf16xbf16", "int4xbf16", b},
      // Everything but the output projections of attention is left out of the attention.
      {"nvidia--DeepSeek-V3.1-NVFP4", "bf16xbf16", "fp4xfp4", "fp4xfp4", "fp4xfp4", f8},
      {"nvidia--DeepSeek-V3.2-NVFP4", "bf16xbf16", "fp4xfp4", "fp4xfp4", "fp4xfp4", f8},
      {"nvidia--Kimi-K2.5-NVFP4", "bf16xbf16", "bf16xbf16", "fp4xfp4", "fp4xfp4", f8},
      // The first, dense layer and the shared experts stay in bf16 too.
      {"nvidia--Kimi-K2.6-NVFP4", "bf16xbf16", "bf16xbf16", "bf16xbf16", "fp4xfp4", f8},
      {"nvidia--GLM-5.1-NVFP4", "bf16xbf16", "bf16xbf16", "bf16xbf16", "fp4xfp4", f8},
      {"nvidia--Gemma-4-26B-A4B-NVFP4", "bf16xbf16", "bf16xbf16", "bf16xbf16", "fp4xfp4", f8},
      {"nvidia--MiniMax-M2.5-NVFP4", "bf16xbf16", "bf16xbf16", "fp4xfp4", "fp4xfp4", f8},
      {"nvidia--Qwen3-235B-A22B-NVFP4", "fp4xfp4", "fp4xfp4", "fp4xfp4", "fp4xfp4", f8},
      {"nvidia--Qwen3.5-397B-A17B-NVFP4", "bf16xbf16", "bf16xbf16", "bf16xbf16", "fp4xfp4", f8},
      // 6 of 23 Mamba layers and the 6 attention layers are in bf16, most mixers are not.
      {"nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", "fp4xfp4", "fp4xfp4", "fp4xfp4", "fp4xfp4", f8},
      // fp8 by blocks, on top of which only the experts are NVFP4.
      {"nvidia--DeepSeek-V4-Flash-NVFP4", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp4xfp4", b},
      {"deepseek-ai--DeepSeek-V4-Flash", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp4xfp8", b},
      {"nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8", "fp8xfp8", "fp8xfp8", "fp8xfp8", "fp8xfp8", f8},
  };
  for (const auto& e : table) {
    INFO(e.name);
    const auto c = checkpoint(folder, e.name);
    CHECK(c.of(Module::mixer) == e.mixer);
    CHECK(c.of(Module::mixer_output) == e.output);
    CHECK(c.of(Module::ffn) == e.ffn);
    CHECK(c.of(Module::experts) == e.experts);
    CHECK(c.precision.kv_cache == e.kv);
    CHECK(c.precision.lm_head == DType::bf16);
  }
  // OCP MXFP4: 4.25 bits; Kimi's int4 in groups of 32: 4.5; DeepSeek's blocks of 128 x 128.
  CHECK(bits(checkpoint(folder, "openai--gpt-oss-120b").precision.linear(Module::experts)) == 4.25);
  CHECK(bits(checkpoint(folder, "deepseek-ai--DeepSeek-V4-Flash").precision.linear(Module::experts)) == 4.25);
  CHECK(bits(checkpoint(folder, "moonshotai--Kimi-K2.5").precision.linear(Module::experts)) == 4.5);
  CHECK(bits(checkpoint(folder, "deepseek-ai--DeepSeek-V3").precision.linear(Module::ffn)) ==
        8 + 32.0 / (128 * 128));
  const auto nano = checkpoint(folder, "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4");
  CHECK(std::any_of(nano.notes.begin(), nano.notes.end(), [](const auto& n) {
    return n.find("mixers are left in bf16 in 12 layers") != std::string::npos;
  }));
}

TEST_CASE("is a quantised checkpoint as large as its authors say?", "[quantization]") {
  REQUIRE_REFERENCE_DATA(data);
  // gpt-oss model card (OpenAI, 2025), table 1: checkpoints of 60.8 and 12.8 GiB, experts in MXFP4.
  const std::pair<const char*, double> published[] = {{"openai--gpt-oss-120b", 60.8},
                                                      {"openai--gpt-oss-20b", 12.8}};
  for (const auto& [name, gibibytes] : published) {
    const auto model =
        import_config(JsonDocument::load(data + "/model_configs/" + name + "_config.json"), name);
    LoweringContext ctx;
    ctx.precision = model.native;
    CHECK(model.weight_bytes(ctx) / (1 << 30) == Approx(gibibytes).epsilon(0.005));
  }
}

TEST_CASE("do identity values of a format leave every model's step bit-equal?", "[quantization]") {
  std::vector<LinearFormat> identities(3);
  identities[0].bits = 16;
  identities[1].rank = 1 << 20;
  identities[2].sparsity.keep = identities[2].sparsity.of = 4;
  for (const auto& name : list_models()) {
    INFO(name);
    const ModelSpec model = load_model(name);
    BatchShape batch;
    batch.decode_seqs = 4, batch.decode_context = 2000;
    batch.chunks = {{100, 28}};
    for (const KeyCap& cap : model.caps()) batch.windowed_context.push_back(4 * cap.of(500));
    KernelCalls dense;
    model.lower(batch, {}, dense);
    for (const auto& identity : identities) {
      LoweringContext ctx;
      ctx.precision.set_linear(identity);
      KernelCalls calls;
      model.lower(batch, ctx, calls);
      const bool equal = std::equal(calls.begin(), calls.end(), dense.begin(), dense.end(),
                                    [](const KernelCall& a, const KernelCall& b) {
                                      return a.cls == b.cls && a.dims == b.dims && a.repeat == b.repeat &&
                                             a.work.flops() == b.work.flops() &&
                                             a.work.hbm_bytes() == b.work.hbm_bytes() &&
                                             a.work.weight_bytes == b.work.weight_bytes;
                                    });
      CHECK(equal);
      CHECK(model.weight_bytes(ctx) == model.weight_bytes({}));
    }
  }
}
