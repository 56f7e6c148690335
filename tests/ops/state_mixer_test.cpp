#include "ops/state_mixer.hpp"

#include <random>

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

namespace {
LoweringContext on(int ranks, DType activation = DType::bf16) {
  LoweringContext ctx;
  ctx.shard.tp = ranks;
  ctx.precision.activation = activation;
  return ctx;
}
BatchShape prompt(Tokens tokens) {
  BatchShape batch;
  batch.chunks = {{tokens, 0}};
  return batch;
}
BatchShape decode(std::int64_t seqs, Tokens context) {
  BatchShape batch;
  batch.decode_seqs = seqs, batch.decode_context = seqs * context;
  return batch;
}
double recurrence_bytes(const StateParams& p, int layers, Tokens context = 1) {
  return layers * StateDecode(p).state_bytes(context, on(1));
}
StateParams matrix(StateRule rule, std::int64_t heads, std::int64_t dk, std::int64_t dv = 0) {
  StateParams p;
  p.rule = rule, p.heads = heads, p.key_dim = dk, p.value_dim = dv;
  return p;
}
StateParams mamba2(std::int64_t heads, std::int64_t groups) {
  StateParams p = matrix(StateRule::ssd, heads, 128, 64);
  p.key_heads = groups;
  p.conv = {4, heads * 64 + 2 * groups * 128, true};
  p.projections = {
      {.role = StateRole::in_proj, .out = heads * 64, .units = heads},
      {.role = StateRole::in_proj, .out = heads * 64, .units = heads},
      {.role = StateRole::in_proj, .out = groups * 128, .units = groups},
      {.role = StateRole::in_proj, .out = groups * 128, .units = groups},
      {.role = StateRole::in_proj, .out = heads, .units = heads},
      {.role = StateRole::out_proj, .in = heads * 64, .units = heads, .split = StateSplit::rows}};
  p.output = OutputGate::gated_norm;
  return p;
}
StateParams with(StateParams p, void (*change)(StateParams&)) {
  change(p);
  return p;
}
KernelCalls lowered(const ScaledOperators& ops, const BatchShape& batch, const LoweringContext& ctx) {
  KernelCalls calls;
  for (const auto& [op, scaling] : ops) op->lower(batch, ctx, calls);
  return calls;
}
}  // namespace

TEST_CASE("are states as large as the tensors real models keep?") {
  // Layers x heads x key x value x 4 bytes, from the models' published sizes.
  CHECK(recurrence_bytes(matrix(StateRule::dplr, 40, 64), 32) ==
        Approx(20.97e6).epsilon(1e-3));  // RWKV-7 2.9B
  CHECK(recurrence_bytes(matrix(StateRule::dplr, 32, 64), 24) == Approx(12.58e6).epsilon(1e-3));  // 1.5B
  CHECK(recurrence_bytes(matrix(StateRule::wkv6, 32, 64), 24) ==
        Approx(12.58e6).epsilon(1e-3));                                          // RWKV-6 1.6B
  CHECK(recurrence_bytes(mamba2(24, 1), 24) == Approx(18.87e6).epsilon(1e-3));   // Mamba-2 130M
  CHECK(recurrence_bytes(mamba2(128, 8), 64) == Approx(268.4e6).epsilon(1e-3));  // Codestral-Mamba 7B
  CHECK(recurrence_bytes(mamba2(80, 1), 64) == Approx(167.8e6).epsilon(1e-3));   // Mamba-2 2.7B
  StateParams mamba;
  mamba.rule = StateRule::selective_scan, mamba.channels = 8192, mamba.state = 16;
  CHECK(recurrence_bytes(mamba, 64) == Approx(33.6e6).epsilon(1e-2));  // Falcon-Mamba 7B
  CHECK(recurrence_bytes(matrix(StateRule::gated_delta, 32, 128), 1) == 2.0 * 1024 * 1024);  // Qwen3-Next
  CHECK(recurrence_bytes(matrix(StateRule::scalar_decay, 64, 128), 70) ==
        Approx(293.6e6).epsilon(1e-3));  // MiniMax-Text-01
}

TEST_CASE("does an engine's cache of Mamba-2 hold the convolution's inputs beside the state?") {
  // vLLM keeps [conv channels, width - 1] in the model's format and [heads, P, N] per sequence and layer.
  double bytes = 0;
  for (const auto& [op, scaling] : state_operators(mamba2(24, 1), 768)) bytes += op->state_bytes(1000, on(1));
  CHECK(bytes == 24 * 64 * 128 * 4 + (24 * 64 + 2 * 128) * 3 * 2);
}

TEST_CASE("do operators hold the parameters of the checkpoint?") {
  // mamba2-130m: in_proj [768, 3352], conv [1792, 4] + 1792, out_proj [1536, 768], A_log, D and dt_bias [24],
  // norm [1536].
  StateParams p = mamba2(24, 1);
  p.other_parameters = 3 * 24 + 1536;
  double parameters = 0;
  for (const auto& [op, scaling] : state_operators(p, 768)) parameters += op->parameters();
  CHECK(parameters == 768 * 3352 + 1792 * 5 + 1536 * 768 + 3 * 24 + 1536);
}

TEST_CASE("do low-rank and block-diagonal projections count as their factors and blocks?") {
  StateParams p = matrix(StateRule::dplr, 32, 64);
  p.projections = {{.role = StateRole::decay_proj, .units = 32, .rank = 96, .bias = true}};
  double low_rank = 0, blocks = 0;
  for (const auto& [op, scaling] : state_operators(p, 2048)) low_rank += op->parameters();
  CHECK(low_rank == 2048 * 96 + 96 * 2048 + 2048);

  StateParams gates;
  gates.rule = StateRule::elementwise, gates.channels = 2560;
  gates.projections = {{.role = StateRole::gate_proj, .in = 2560, .out = 2560, .blocks = 10, .bias = true}};
  for (const auto& [op, scaling] : state_operators(gates, 2560)) blocks += op->parameters();
  CHECK(blocks == 10 * 256 * 256 + 2560);
  for (const auto& call : lowered(state_operators(gates, 2560), prompt(100), on(1)))
    if (call.role == "gate_proj") CHECK(call.work.tensor_flops == 2.0 * 100 * 10 * 256 * 256);
}

TEST_CASE("do ranks divide heads and keep a copy of groups fewer than they are?") {
  const StateParams p = mamba2(128, 8);
  const auto ops = state_operators(p, 4096);
  for (const int ranks : {2, 4, 8, 16}) {
    INFO(ranks << " ranks");
    CHECK(state_elements(p, 1, ranks) * ranks == state_elements(p, 1, 1));
    const auto calls = lowered(ops, prompt(64), on(ranks));
    const double groups = ranks <= 8 ? 8.0 / ranks : 1, heads = 128.0 / ranks;
    for (const auto& call : calls) {
      if (call.role == "in_proj") CHECK(call.dims[1] == 2 * heads * 64 + 2 * groups * 128 + heads);
      if (call.role == "conv") CHECK(call.dims[2] == heads * 64 + 2 * groups * 128);
      if (call.role == "state") CHECK((call.dims[2] == heads && call.dims[3] == groups));
      if (call.role == "out_proj") CHECK(call.dims[2] == heads * 64);
    }
    CHECK(calls.back().role == "state_all_reduce");
  }
}

TEST_CASE("does an engine's order hold from the input projection to the all-reduce?") {
  std::vector<std::string> roles;
  for (const auto& call : lowered(state_operators(mamba2(24, 1), 768), prompt(64), on(2)))
    roles.emplace_back(call.role);
  CHECK(roles ==
        std::vector<std::string>{"in_proj", "conv", "state", "gate_norm", "out_proj", "state_all_reduce"});

  StateParams mamba;
  mamba.rule = StateRule::selective_scan, mamba.channels = 1536, mamba.state = 16;
  mamba.conv = {4, 1536, true};
  mamba.projections = {{.role = StateRole::in_proj, .out = 1536},
                       {.role = StateRole::in_proj, .out = 1536},
                       {.role = StateRole::x_proj, .in = 1536, .out = 80, .split = StateSplit::rows},
                       {.role = StateRole::dt_proj, .in = 48, .out = 1536, .bias = true},
                       {.role = StateRole::out_proj, .in = 1536, .split = StateSplit::rows}};
  roles.clear();
  for (const auto& call : lowered(state_operators(mamba, 768), decode(3, 100), on(2)))
    roles.emplace_back(call.role);
  CHECK(roles == std::vector<std::string>{"in_proj", "conv", "x_proj", "x_all_reduce", "dt_proj", "state",
                                          "out_proj", "state_all_reduce"});
}

TEST_CASE("is a short convolution a mixer whose state is its last inputs?") {
  // LFM2-2.6B: 2048 wide, in_proj to B, C and x, three taps, out_proj; two inputs kept in 16 bits.
  StateParams p;
  p.rule = StateRule::convolution, p.channels = 2048, p.input_gate = true, p.output = OutputGate::product;
  p.conv = {3, 2048, false};
  p.projections = {{.role = StateRole::in_proj, .out = 3 * 2048},
                   {.role = StateRole::out_proj, .split = StateSplit::rows}};
  double parameters = 0, bytes = 0;
  for (const auto& [op, scaling] : state_operators(p, 2048))
    parameters += op->parameters(), bytes += op->state_bytes(5000, on(1));
  CHECK(parameters == 4 * 2048 * 2048 + 3 * 2048);
  CHECK(bytes == 2 * 2048 * 2);
  for (const auto& batch : {prompt(100), decode(4, 1000)}) {
    std::vector<std::string> roles;
    for (const auto& call : lowered(state_operators(p, 2048), batch, on(1))) roles.emplace_back(call.role);
    CHECK(roles == std::vector<std::string>{"in_proj", "input_gate", "conv", "gate", "out_proj"});
  }
}

TEST_CASE("is a value that changes nothing without cost, to the bit?") {
  std::mt19937 random(7);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const auto same = [](const StateParams& a, const StateParams& b) {
    for (const auto& batch : {prompt(1000), decode(7, 500)}) {
      KernelCalls first, second;
      StatePrefill(a).lower(batch, on(1), first), StateDecode(a).lower(batch, on(1), first);
      StatePrefill(b).lower(batch, on(1), second), StateDecode(b).lower(batch, on(1), second);
      REQUIRE(first.size() == second.size());
      for (std::size_t i = 0; i < first.size(); ++i) {
        CHECK(first[i].work.flops() == second[i].work.flops());
        CHECK(first[i].work.hbm_bytes() == second[i].work.hbm_bytes());
      }
    }
    CHECK(state_elements(a, 1, 1) == state_elements(b, 1, 1));
  };
  for (int i = 0; i < 20; ++i) {
    StateParams p = matrix(StateRule::gated_delta, pick(1, 32), 8 * pick(1, 32), 8 * pick(1, 32));
    StateParams q = p;
    q.key_heads = p.heads;  // every head its own keys
    same(p, q);
    q = p, q.memories = q.active_memories = 1, q.householder = 1, q.features = 5;
    same(p, q);
    q = p, q.levels = true, q.chunk = 1024;  // a context of one chunk has one state
    StateParams one_chunk = p;
    one_chunk.chunk = 1024;
    same(one_chunk, q);
  }
}

TEST_CASE("does work grow with tokens alone, whatever the rule?") {
  for (int r = 0; r <= static_cast<int>(StateRule::iterative); ++r) {
    StateParams p;
    p.rule = static_cast<StateRule>(r);
    INFO(enum_names(p.rule)[static_cast<std::size_t>(r)]);
    const bool channels = p.rule == StateRule::wkv4 || p.rule == StateRule::selective_scan ||
                          p.rule == StateRule::elementwise || p.rule == StateRule::lti;
    if (channels)
      p.channels = 512, p.state = p.rule == StateRule::elementwise ? 1 : 16;
    else
      p.heads = 4, p.key_dim = 64, p.slots = 32, p.iterations = 10;
    const auto flops = [&](const BatchShape& batch, const Operator& op) {
      KernelCalls calls;
      double sum = 0;
      op.lower(batch, on(1), calls);
      for (const auto& call : calls) sum += call.repeat * call.work.flops();
      return sum;
    };
    CHECK(flops(decode(32, 9), StateDecode(p)) == Approx(2 * flops(decode(16, 90000), StateDecode(p))));
    const double ratio = flops(prompt(8192), StatePrefill(p)) / flops(prompt(4096), StatePrefill(p));
    // The FFT of a filter alone grows by its logarithm.
    CHECK(ratio == (p.rule == StateRule::lti ? Approx(2.0 * 14 / 13).epsilon(0.01) : Approx(2.0)));
    CHECK(StateDecode(p).state_bytes(10, on(1)) == StateDecode(p).state_bytes(1000000, on(1)));
  }
}

TEST_CASE("does a contradictory state mixer say which field is wrong?") {
  const auto refused = [](const StateParams& p, const std::string& word) {
    try {
      p.check();
    } catch (const ConfigError& error) {
      INFO(error.what());
      CHECK(std::string(error.what()).find(word) != std::string::npos);
      CHECK(!error.hint().empty());
      return true;
    }
    return false;
  };
  const StateParams good = matrix(StateRule::gated_delta, 32, 128);
  CHECK_NOTHROW(good.check());
  CHECK(refused(with(good, [](StateParams& p) { p.key_heads = 5; }), "key_heads 5"));
  CHECK(refused(with(good, [](StateParams& p) { p.heads = 0; }), "heads 0"));
  CHECK(refused(with(good, [](StateParams& p) { p.channels = 64; }), "channels 64"));
  CHECK(refused(with(good, [](StateParams& p) { p.chunk = 0; }), "chunk 0"));
  CHECK(refused(with(good, [](StateParams& p) { p.active_memories = 2; }), "active_memories 2"));
  CHECK(refused(with(good, [](StateParams& p) { p.algorithm = StateAlgorithm::fft; }), "fft"));
  CHECK(refused(with(good, [](StateParams& p) { p.conv.width = 4; }), "conv.channels 0"));
  CHECK(refused(
      with(good,
           [](StateParams& p) { p.projections = {{.role = StateRole::q_proj, .out = 100, .units = 3}}; }),
      "q_proj.units 3"));
  StateParams filter;
  filter.rule = StateRule::lti, filter.channels = 64;
  CHECK_NOTHROW(filter.check());
  filter.algorithm = StateAlgorithm::scan;
  CHECK(refused(filter, "scan"));
  CHECK(refused(with(matrix(StateRule::dplr, 4, 64), [](StateParams& p) { p.value_dim = 32; }),
                "value_dim 32"));
}
