#include <algorithm>

#include "catalogue/compression_rows.hpp"
#include "model/config_import.hpp"
#include "ops/kernel_classes.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

// Compression that makes another model, or the same step by other means.

namespace {

KernelCalls step(const ModelSpec& model, const Precision& p) {
  LoweringContext ctx;
  ctx.precision = p;
  BatchShape batch;
  batch.decode_seqs = 3, batch.decode_context = 3000;
  batch.chunks = {{256, 128}};
  batch.windowed_context.assign(model.caps().size(), 3000);
  KernelCalls calls;
  model.lower(batch, ctx, calls);
  return calls;
}
bool equal(const KernelCalls& a, const KernelCalls& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const KernelCall& x, const KernelCall& y) {
    return x.cls == y.cls && x.dims == y.dims && x.dtype == y.dtype && x.weight_dtype == y.weight_dtype &&
           x.work.tensor_flops == y.work.tensor_flops && x.work.hbm_read_bytes == y.work.hbm_read_bytes &&
           x.work.hbm_write_bytes == y.work.hbm_write_bytes && x.repeat == y.repeat;
  });
}

/// FLOPs of the linear layers of one token, and bytes of the layers' weights.
struct Layers {
  double flops = 0, bytes = 0;
};
Layers layers_of(const ModelSpec& model) {
  BatchShape batch;
  batch.decode_seqs = 1, batch.decode_context = 1;
  KernelCalls calls;
  model.lower(batch, {}, calls);
  Layers sum;
  for (const auto& c : calls) {
    if (c.cls != &kGemm) continue;
    sum.flops += c.repeat * c.work.tensor_flops, sum.bytes += c.repeat * c.work.weight_bytes;
  }
  return sum;
}

}  // namespace

TEST_CASE(
    "CMP-12 is a W4A8KV4 step the same however its bits were found, and another with one field changed?",
    "[catalogue]") {
  const ModelSpec model = load_model("llama-2-7b");
  const Precision qat = precision_of("CMP-12");
  Precision ptq;  // the same bits written down by hand
  ptq.weight = DType::int4, ptq.compute = DType::int8, ptq.kv_cache = DType::int4;
  CHECK(equal(step(model, qat), step(model, ptq)));
  std::vector<Precision> others(4, ptq);
  others[0].compute = DType::bf16;
  others[1].kv_cache = DType::int8;
  others[2].weight = DType::int8;
  LinearFormat zeros = ptq.linear(Module::ffn);
  zeros.scales = WeightScales{128, 1, 16, true};
  others[3].of(Module::ffn) = zeros;
  for (const auto& other : others) CHECK_FALSE(equal(step(model, qat), step(model, other)));
}

TEST_CASE("CMP-14 do post-training and quantisation-aware methods of equal formats give equal calls?",
          "[catalogue]") {
  // W8A8 by SmoothQuant (post-training, CMP-03) and by training: nothing in a format says which.
  const ModelSpec model = load_model("llama-2-7b");
  CHECK(precision_of("CMP-14") == precision_of("CMP-03"));
  CHECK(equal(step(model, precision_of("CMP-14")), step(model, precision_of("CMP-03"))));
  CHECK_FALSE(equal(step(model, precision_of("CMP-14")), step(model, {})));
}

TEST_CASE("CMP-17 do 20% fewer heads and channels leave 0.8 of the layers' FLOPs and bytes?", "[catalogue]") {
  const ModelSpec whole = load_model("llama-7b");
  ModelSpec pruned = whole;
  for (auto& kind : pruned.kinds) {
    auto& attention = std::get<AttentionParams>(kind.mixers.at(0));
    const auto left = block_of<AttentionParams>("CMP-17", "attention");
    attention.heads = left.heads, attention.kv_heads = left.kv_heads;
    std::get<DenseParams>(kind.ffn).width = block_of<DenseParams>("CMP-17", "dense").width;
  }
  const Layers before = layers_of(whole), after = layers_of(pruned);
  CHECK(before.flops == 2 * 32 * (4 * 4096.0 * 4096 + 3 * 4096.0 * 11008));
  CHECK(after.flops / before.flops == Approx(0.8).epsilon(0.02));
  CHECK(after.bytes / before.bytes == Approx(0.8).epsilon(0.02));
}

TEST_CASE("CMP-18 do the block configs of a searched architecture import, layers without attention included?",
          "[catalogue]") {
  REQUIRE_REFERENCE_DATA(data);
  const auto model = import_config(
      JsonDocument::load(data + "/model_configs/nvidia--Llama-3_3-Nemotron-Super-49B-v1_config.json"),
      "nemotron-super-49b");
  CHECK(model.layers() == 80);
  CHECK(model.parameters() == Approx(49.867e9).epsilon(0.001));
  CHECK(model.kv_bytes_per_token({}) == 200704);  // 49 layers of 8 heads of 128 with attention
  CHECK(model.kinds.size() > 2);
}

TEST_CASE("CMP-20 does a model of 12.3 billion parameters decode 1.22 to 1.30 times faster than one of 16?",
          "[catalogue]") {
  // StarCoder: 40 layers, hidden 6144, 48 query heads and one KV head of 128, feed-forward 24576, not gated.
  // Rank 3458 instead of 6144 x 24576 leaves 12.3 / 16 of its parameters. 1.22 was measured.
  ModelSpec starcoder = load_model("llama-7b");
  starcoder.hidden = 6144, starcoder.vocab = 49152, starcoder.tied_embeddings = true;
  LayerKind kind = starcoder.kinds.front();
  auto& attention = std::get<AttentionParams>(kind.mixers.at(0));
  attention.heads = 48, attention.kv_heads = 1, attention.head_dim = 128;
  kind.ffn = DenseParams{24576, false, true};
  kind.count = 40;
  starcoder.kinds = {kind};
  starcoder.pattern.assign(40, 0);
  CHECK(starcoder.parameters() == Approx(15.5e9).epsilon(0.01));
  const auto device = a100();
  const Precision lord = precision_of("CMP-20");
  LoweringContext dense, ranked;
  ranked.precision = lord;
  CHECK(starcoder.weight_bytes(ranked) / starcoder.weight_bytes(dense) == Approx(12.3 / 16).epsilon(0.005));
  for (const auto& cost : {make_analytic(device, topology_for(device)), speed_of_light(device)}) {
    FormatComparison gain(starcoder, device, cost, {}, lord);
    CHECK(gain.decode(1, 512) >= 1.22);
    CHECK(gain.decode(1, 512) <= 16 / 12.3 + 0.002);
  }
}

TEST_CASE("CMP-21 does a tensor-train embedding save its memory and leave step times as they are?",
          "[catalogue]") {
  const ModelSpec model = load_model("llama-2-7b");
  const Precision trains = precision_of("CMP-21");
  LoweringContext plain, smaller;
  smaller.precision = trains;
  const double saved = model.weight_bytes(plain) - model.weight_bytes(smaller);
  CHECK(saved == Approx(32000.0 * 4096 * 2 * (1 - 1 / 38.4)).epsilon(1e-9));
  auto gain = against_bf16("llama-2-7b", trains);
  CHECK(gain.decode(8, 1088) == Approx(1).epsilon(0.01));
  CHECK(gain.prefill(1024) == Approx(1).epsilon(0.01));
}

TEST_CASE("CMP-22 does a student decode faster than its teacher by the bytes it does not read?",
          "[catalogue]") {
  // MiniLLM distils LLaMA-13B into 7B: 12.852 and 6.607 billion parameters read a step (13.016 and 6.738 less
  // the input embeddings), 819,200 and 524,288 B of KV a token.
  const auto device = a100();
  const auto time = [&](const ModelSpec& model) {
    StepPricer pricer(model, {}, device, topology_for(device), {}, speed_of_light(device));
    DecodeSet set;
    set.seqs = 1, set.context = 512;
    return static_cast<double>(pricer.decode(set).first.value);
  };
  const std::string student = find_method("CMP-22").blocks.at("layers").at("preset");
  const double bytes = (12.852e9 * 2 + 512 * 819200.0) / (6.607e9 * 2 + 512 * 524288.0);
  CHECK(time(load_model("llama-2-13b")) / time(load_model(student)) == Approx(bytes).epsilon(0.02));
}
