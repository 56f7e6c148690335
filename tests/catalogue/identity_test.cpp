#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "model/lowering.hpp"

using namespace orrery;

// Each block of a model has a value that changes nothing. Over random models, setting it leaves every kernel
// call of a step as it was, to the bit.

namespace {

/// A model of a few kinds of layers with sizes drawn at random.
ModelSpec random_model(Rng& rng) {
  const auto pick = [&](std::initializer_list<std::int64_t> values) {
    return values.begin()[rng.uniform_int(0, static_cast<std::int64_t>(values.size()) - 1)];
  };
  ModelSpec model;
  model.name = "random";
  model.hidden = model.final_norm = pick({512, 1024, 4096});
  model.vocab = 32000;
  model.max_model_len = 65536;
  const auto kinds = rng.uniform_int(1, 3);
  for (std::int64_t k = 0; k < kinds; ++k) {
    LayerKind kind;
    AttentionParams attention;
    attention.head_dim = pick({64, 128});
    attention.kv_heads = pick({1, 4, 8});
    attention.heads = attention.kv_heads * pick({1, 4, 8});
    attention.qk_norm = rng.uniform() < 0.5;
    kind.mixers.push_back(attention);
    if (rng.uniform() < 0.5) {
      MoeParams moe;
      moe.experts = static_cast<int>(pick({8, 64}));
      moe.active = static_cast<int>(pick({1, 2, 6}));
      moe.width = pick({512, 1408});
      kind.ffn = moe;
    } else {
      kind.ffn = DenseParams{pick({1408, 11008}), true, false};
    }
    kind.count = static_cast<int>(rng.uniform_int(1, 8));
    for (int i = 0; i < kind.count; ++i) model.pattern.push_back(static_cast<int>(k));
    model.kinds.push_back(std::move(kind));
  }
  return model;
}

KernelCalls step_of(const ModelSpec& model, Rng rng, const Precision& precision = {}) {
  BatchShape batch;
  batch.decode_seqs = rng.uniform_int(1, 64);
  const Tokens context = rng.uniform_int(16, 30000);
  batch.decode_context = batch.decode_seqs * context;
  for (const KeyCap& cap : model.caps())
    batch.windowed_context.push_back(batch.decode_seqs * cap.of(context));
  batch.chunks = {{rng.uniform_int(1, 4096), rng.uniform_int(0, 8192)}};
  LoweringContext ctx;
  ctx.precision = precision;
  KernelCalls calls;
  StepLowering(model, ctx).lower(batch, calls);
  return calls;
}

void check_equal(const KernelCalls& a, const KernelCalls& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(a[i].role);
    CHECK(a[i].cls == b[i].cls);
    CHECK(a[i].dims == b[i].dims);
    CHECK(a[i].repeat == b[i].repeat);
    CHECK(a[i].work.flops() == b[i].work.flops());
    CHECK(a[i].work.hbm_bytes() == b[i].work.hbm_bytes());
  }
}

/// Applies `change` to every layer kind of random models and holds the steps against the unchanged ones.
template <class Change>
void check_identity(const Change& change) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Rng rng(seed, "identity");
    const ModelSpec model = random_model(rng);
    ModelSpec changed = model;
    for (auto& kind : changed.kinds) change(kind);
    INFO(seed);
    check_equal(step_of(changed, rng), step_of(model, rng));
  }
}

AttentionParams& attention(LayerKind& kind) {
  return std::get<AttentionParams>(kind.mixers.front());
}

}  // namespace

TEST_CASE("catalogue: is a window as long as any context full attention?") {
  check_identity([](LayerKind& kind) { attention(kind).pattern.window = 1 << 20; });
}

TEST_CASE("catalogue: does a budget of chosen keys above any context choose nothing?") {
  // A decode set's longest sequence is not known, so that it is the import that takes such a pattern out:
  // where it covers the longest context.
  AttentionPattern pattern;
  pattern.select.emplace();
  pattern.select->index = KeyIndex::blocks;
  pattern.select->block = 16;
  pattern.select->budget = 65536;
  CHECK(pattern.covers(65536));
  CHECK_FALSE(pattern.covers(65537));
  const PrefillChunk prompt{512, 2048};
  CHECK(pattern.pairs(prompt) == AttentionPattern{}.pairs(prompt));
}

TEST_CASE("catalogue: are globals over the whole context full attention?") {
  check_identity([](LayerKind& kind) { attention(kind).pattern.globals = 1 << 20; });
}

TEST_CASE("catalogue: does one group of all heads equal no groups?") {
  check_identity([](LayerKind& kind) { attention(kind).mix = {HeadGroup{}}; });
}

TEST_CASE("catalogue: is a layer that all tokens take, with weights of its own, the plain one?") {
  check_identity([](LayerKind& kind) { kind.depth = 1, kind.copies = kind.count; });
}

TEST_CASE("catalogue: are experts without anything about them a dense feed-forward?") {
  check_identity([](LayerKind& kind) {
    if (const auto* dense = dense_of(kind)) {
      MoeParams moe;
      moe.shared_experts = 1;
      moe.shared_width = dense->width;
      kind.ffn = moe;
    }
  });
}

TEST_CASE("catalogue: does a token that takes k of k experts as shares equal taking k?") {
  check_identity([](LayerKind& kind) {
    if (auto* moe = std::get_if<MoeParams>(&kind.ffn)) {
      moe->active_shares.assign(static_cast<std::size_t>(moe->active) + 1, 0.0);
      moe->active_shares.back() = 1;
    }
  });
}

TEST_CASE("catalogue: do formats that say what holds anyway leave a step as it is?") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed, "identity");
    const ModelSpec model = random_model(rng);
    Precision precision;
    precision.apart.fill(LinearFormat{});
    check_equal(step_of(model, rng, precision), step_of(model, rng));
  }
}
