#include <algorithm>
#include <numeric>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/pipeline_stages.hpp"

using namespace orrery;

namespace {

LoweringContext bf16() {
  return {};
}

/// Of an LM head, whose rows engines pad to a multiple of 64 (vLLM, vocab_parallel_embedding.py).
double matrix_bytes(const ModelSpec& m) {
  return 2.0 * static_cast<double>((m.vocab + 63) / 64 * 64) * static_cast<double>(m.hidden);
}

/// Whether layers share weights: each stage then needs sets of its own.
bool shares_layers(const ModelSpec& m) {
  return std::any_of(m.kinds.begin(), m.kinds.end(), [](const LayerKind& k) { return k.copies > 0; });
}

template <class F>
double over(const std::vector<ModelSpec>& stages, F value) {
  return std::accumulate(stages.begin(), stages.end(), 0.0,
                         [&](double sum, const ModelSpec& stage) { return sum + value(stage); });
}

double flops(const ModelSpec& m) {
  BatchShape batch;
  batch.decode_seqs = 7, batch.decode_context = 7 * 1000;
  for (const KeyCap& cap : m.caps()) batch.windowed_context.push_back(7 * cap.of(1000));
  batch.chunks = {{300, 100}};
  KernelCalls calls;
  m.lower(batch, bf16(), calls);
  return std::accumulate(calls.begin(), calls.end(), 0.0, [](double sum, const KernelCall& c) {
    return sum + c.repeat * (c.work.tensor_flops + c.work.vector_flops);
  });
}

}  // namespace

TEST_CASE("are layers divided among stages as vLLM divides them?") {
  using Counts = std::vector<int>;
  // vLLM, tests/distributed/test_pipeline_partition.py.
  CHECK(layers_by_stage(2, 2) == Counts{1, 1});
  CHECK(layers_by_stage(3, 2) == Counts{2, 1});
  CHECK(layers_by_stage(3, 3) == Counts{1, 1, 1});
  CHECK(layers_by_stage(4, 3) == Counts{1, 2, 1});
  CHECK(layers_by_stage(5, 3) == Counts{2, 2, 1});
  CHECK(layers_by_stage(61, 4) == Counts{15, 15, 16, 15});  // DeepSeek-V3, by its rule
  CHECK(layers_by_stage(126, 4) == Counts{31, 32, 32, 31});
  CHECK(layers_by_stage(80, 1) == Counts{80});
  CHECK_THROWS_WITH(layers_by_stage(3, 4),
                    Catch::Contains("3 layers") && Catch::Contains("4 pipeline stages"));
}

TEST_CASE("do a model's stages hold and compute what the whole does, no more and no less?") {
  for (const auto& name : list_models()) {
    const ModelSpec model = load_model(name);
    for (const int pp : {2, 3}) {
      if (model.layers() < pp) continue;
      INFO(name << " in " << pp << " stages");
      const auto stages = pipeline_stages(model, pp);
      REQUIRE(static_cast<int>(stages.size()) == pp);
      CHECK(over(stages, [](const ModelSpec& s) { return s.layers(); }) == model.layers());
      CHECK(over(stages, flops) == Approx(flops(model)).epsilon(1e-9));
      CHECK(over(stages, [](const ModelSpec& s) { return s.sequence_bytes(5000, bf16()); }) ==
            Approx(model.sequence_bytes(5000, bf16())).epsilon(1e-9));
      // Tied embeddings are needed at both ends.
      const double twice = model.tied_embeddings ? matrix_bytes(model) : 0;
      const double weights = over(stages, [](const ModelSpec& s) { return s.weight_bytes(bf16()); });
      if (shares_layers(model)) {
        CHECK(weights >= model.weight_bytes(bf16()));
      } else {
        CHECK(weights == Approx(model.weight_bytes(bf16()) + twice).epsilon(1e-9));
      }
      for (const auto& stage : stages) CHECK(stage.caps() == model.caps());
    }
  }
}

TEST_CASE("which stage holds what stands beside the layers?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  const auto stages = pipeline_stages(model, 4);
  const double layer = (model.weight_bytes(bf16()) - 2 * matrix_bytes(model) - 2.0 * 4096) / 32;
  CHECK(stages[0].weight_bytes(bf16()) == Approx(8 * layer + matrix_bytes(model)));
  CHECK(stages[1].weight_bytes(bf16()) == Approx(8 * layer));
  CHECK(stages[2].weight_bytes(bf16()) == Approx(8 * layer));
  CHECK(stages[3].weight_bytes(bf16()) == Approx(8 * layer + matrix_bytes(model) + 2.0 * 4096));
  const auto roles = [](const ModelSpec& m) {
    BatchShape batch;
    batch.decode_seqs = 1, batch.decode_context = 10;
    KernelCalls calls;
    m.lower(batch, bf16(), calls);
    std::vector<std::string> out;
    for (const auto& c : calls) out.emplace_back(c.role);
    return out;
  };
  const auto has = [&](const ModelSpec& m, const char* role) {
    const auto all = roles(m);
    return std::count(all.begin(), all.end(), role) > 0;
  };
  CHECK(has(stages[0], "embedding"));
  CHECK_FALSE(has(stages[1], "embedding"));
  for (const char* role : {"final_norm", "lm_head", "sampling"}) {
    CHECK_FALSE(has(stages[2], role));
    CHECK(has(stages[3], role));
  }
}

TEST_CASE("is a pipeline of one stage the model?") {
  const ModelSpec model = load_model("gemma-2-9b");
  const auto stages = pipeline_stages(model, 1);
  REQUIRE(stages.size() == 1);
  CHECK(stages.front().weight_bytes(bf16()) == model.weight_bytes(bf16()));
  CHECK(flops(stages.front()) == flops(model));
}

TEST_CASE("is a split into more stages than layers refused?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  CHECK_NOTHROW(check_split(model, {1, 32}));
  CHECK_THROWS_WITH(check_split(model, {1, 33}), Catch::Contains("32 layers") && Catch::Contains("33"));
}
