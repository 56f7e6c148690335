#include <algorithm>
#include <memory>

#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/moe.hpp"
#include "ops/recurrent.hpp"
#include "ops/state_mixer.hpp"

namespace orrery {

namespace {
using Scaling = KernelClass::Scaling;

std::string_view role_name(StateRole role) {
  return enum_names(role)[static_cast<std::size_t>(role)];
}

/// The short convolution's channels on one rank. Where it runs over queries, keys and values (or B, C and x),
/// those of shared heads follow their replication.
double local_channels(const StateParams& p, int ranks) {
  const std::int64_t key_heads = p.key_heads > 0 ? p.key_heads : p.heads;
  const std::int64_t shared = 2 * key_heads * p.key_dim;
  const std::int64_t rest = p.conv.channels - shared;
  if (p.heads == 0 || rest <= 0) return static_cast<double>(UnitGroup{p.conv.channels}.local_units(ranks));
  return static_cast<double>(2 * UnitGroup{key_heads, p.key_dim}.local_width(ranks) +
                             UnitGroup{p.heads, rest / p.heads}.local_width(ranks));
}

/// The short convolution over prompts; holds its parameters.
class ConvPrefill final : public Operator {
 public:
  explicit ConvPrefill(const StateParams& params) : p_(params) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    double tokens = 0, seqs = 0;
    for (const auto& c : batch.chunks) tokens += static_cast<double>(c.new_tokens), seqs += c.new_tokens > 0;
    if (seqs == 0) return;
    out.push_back(make_call(
        kCausalConv, {tokens, seqs, local_channels(p_, ctx.shard.tp), static_cast<double>(p_.conv.width)},
        ctx.precision.activation, ctx.precision.activation));
    out.back().role = "conv";
  }
  double parameters() const override { return static_cast<double>(p_.conv.channels * taps()); }
  double weight_bytes(const LoweringContext& ctx) const override {
    return local_channels(p_, ctx.shard.tp) * static_cast<double>(taps()) *
           bytes_per_element(ctx.precision.activation);
  }

 private:
  std::int64_t taps() const { return p_.conv.width + (p_.conv.bias ? 1 : 0); }
  StateParams p_;
};

/// The short convolution of one token per sequence; holds the inputs kept.
class ConvDecode final : public Operator {
 public:
  explicit ConvDecode(const StateParams& params) : p_(params) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    if (batch.decode_seqs == 0) return;
    const auto tokens = static_cast<double>(batch.decode_seqs * batch.decode_queries);
    out.push_back(make_call(kCausalConvDecode,
                            {tokens, local_channels(p_, ctx.shard.tp), static_cast<double>(p_.conv.width)},
                            ctx.precision.activation, ctx.precision.activation));
    out.back().role = "conv";
  }
  double state_bytes(Tokens, const LoweringContext& ctx) const override {
    return local_channels(p_, ctx.shard.tp) * static_cast<double>(p_.conv.width - 1) *
           bytes_per_element(ctx.precision.activation);
  }

 private:
  StateParams p_;
};

/// RWKV's token shift: a token's input and the one before it in, `mixes` interpolations out (3 operations per
/// element). The whole width on every rank; holds the last inputs.
class ShiftTokens final : public Operator {
 public:
  ShiftTokens(TokenShift shift, std::int64_t hidden) : shift_(shift), width_(static_cast<double>(hidden)) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const double row = width_ * bytes_per_element(ctx.precision.activation);
    const auto mixes = static_cast<double>(shift_.mixes);
    push_elementwise(kElementwise, "token_shift", batch, ctx, {2 * row, mixes * row, 3 * mixes * width_},
                     out);
  }
  double state_bytes(Tokens, const LoweringContext& ctx) const override {
    return static_cast<double>(shift_.kept) * width_ * bytes_per_element(ctx.precision.activation);
  }

 private:
  TokenShift shift_;
  double width_;
};

/// The product that goes into the convolution, one operation per element.
class GateInput final : public Operator {
 public:
  explicit GateInput(const StateParams& params) : units_{params.units(), params.width() / params.units()} {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const auto width = static_cast<double>(units_.local_width(ctx.shard.tp));
    const double row = width * bytes_per_element(ctx.precision.activation);
    push_elementwise(kActivation, "input_gate", batch, ctx, {2 * row, row, width}, out);
  }

 private:
  UnitGroup units_;
};

/// What follows the readout: OutputGate::product is 5 operations per element, a norm 4.
class GateOutput final : public Operator {
 public:
  explicit GateOutput(const StateParams& params) : p_(params) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const UnitGroup units{p_.units(), p_.width() / p_.units()};
    const auto width = static_cast<double>(units.local_width(ctx.shard.tp));
    const double row = width * bytes_per_element(ctx.precision.activation);
    const bool gated = p_.output != OutputGate::norm, normed = p_.output != OutputGate::product;
    push_elementwise(normed ? kNorm : kActivation, normed ? "gate_norm" : "gate", batch, ctx,
                     {gated ? 2 * row : row, row, width * ((gated ? 5 : 0) + (normed ? 4 : 0))}, out);
  }

 private:
  StateParams p_;
};

/// y = x W with W block-diagonal (batched GEMM, one launch): each column meets k / blocks inputs. Blocks are
/// divided over ranks, or all on each.
class BlockLinear final : public Operator {
 public:
  BlockLinear(std::string_view role, std::int64_t k, std::int64_t n, std::int64_t blocks, bool divided,
              bool bias)
      : role_(role),
        blocks_{blocks, n / blocks},
        k_(static_cast<double>(k / blocks)),
        divided_(divided),
        bias_(bias) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const auto m = static_cast<double>(batch.dense_tokens());
    if (m == 0) return;
    const LinearFormat format = ctx.precision.linear(Module::mixer);
    KernelCall call = make_call(kGemm, {m, columns(ctx), k_}, format.compute, format.weight);
    const double inputs = m * k_ * static_cast<double>(blocks_.local_units(ranks(ctx)) - 1);
    call.work.hbm_read_bytes += inputs * bytes_per_element(format.compute);
    call.role = role_;
    out.push_back(call);
  }
  double parameters() const override {
    const auto n = static_cast<double>(blocks_.width());
    return k_ * n + (bias_ ? n : 0);
  }
  double weight_bytes(const LoweringContext& ctx) const override {
    return stored_matrix_bytes(ctx.precision.linear(Module::mixer), k_, columns(ctx)) +
           (bias_ ? columns(ctx) * bytes_per_element(ctx.precision.activation) : 0);
  }

 private:
  double columns(const LoweringContext& ctx) const {
    return static_cast<double>(blocks_.local_width(ranks(ctx)));
  }
  int ranks(const LoweringContext& ctx) const { return divided_ ? ctx.shard.tp : 1; }
  std::string_view role_;
  UnitGroup blocks_;
  double k_;
  bool divided_, bias_;
};

/// Tokens sorted by the memories they go to, as experts' rows are (Du et al., MoM, 2025, section 3.2).
class RouteMemories final : public Operator {
 public:
  RouteMemories(const StateParams& params, std::int64_t hidden) : p_(params), hidden_(hidden) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const auto tokens = static_cast<double>(batch.dense_tokens());
    if (tokens == 0) return;
    out.push_back(make_call(kMoeRouting,
                            {tokens, static_cast<double>(p_.memories),
                             static_cast<double>(p_.active_memories), static_cast<double>(hidden_)},
                            ctx.precision.activation, ctx.precision.activation));
    out.back().role = "router";
  }

 private:
  StateParams p_;
  std::int64_t hidden_;
};

/// Collects a mixer's operators.
struct Builder {
  const StateParams& p;
  std::int64_t hidden;
  ScaledOperators out;

  template <class Op, class... Args>
  void add(Scaling scaling, Args&&... args) {
    out.emplace_back(std::make_shared<Op>(std::forward<Args>(args)...), scaling);
  }
  std::int64_t wide(std::int64_t width) const { return width > 0 ? width : hidden; }
  UnitGroup group(const StateProjection& w, std::int64_t width, bool divided) const {
    if (w.split == StateSplit::replicated || !divided) return {1, width};
    return w.units > 0 ? UnitGroup{w.units, width / w.units} : UnitGroup{width, 1};
  }

  /// One projection, or the first of `count` that are one matrix.
  void project(const StateProjection* w, std::size_t count) {
    const bool rows = w->split == StateSplit::rows;
    const std::string_view role = role_name(w->role);
    const Module module = w->role == StateRole::out_proj ? Module::mixer_output : Module::mixer;
    const UnitGroup input = group(*w, wide(w->in), rows);
    if (w->role == StateRole::out_proj || w->role == StateRole::x_proj)
      add<Quantise>(Scaling::tokens, UnitGroup{p.units(), p.width() / p.units()}, true,
                    p.output == OutputGate::none ? Producer::attention : Producer::activation, module);
    std::int64_t inner = wide(w->in);
    if (w->rank > 0) {
      add<Linear>(Scaling::tokens, role, std::vector{input}, std::vector{UnitGroup{1, w->rank}},
                  rows ? TensorSplit::rows : TensorSplit::columns, false, module);
      inner = w->rank;
    }
    std::vector<UnitGroup> outputs;
    for (std::size_t i = 0; i < count; ++i) outputs.push_back(group(w[i], wide(w[i].out), !rows));
    if (w->blocks > 1)
      add<BlockLinear>(Scaling::tokens, role, inner, wide(w->out), w->blocks, w->split == StateSplit::columns,
                       w->bias);
    else
      add<Linear>(Scaling::tokens, role, std::vector{w->rank > 0 ? UnitGroup{1, inner} : input}, outputs,
                  rows && w->rank == 0 ? TensorSplit::rows : TensorSplit::columns, w->bias, module);
    if (rows) {
      const bool last = w->role == StateRole::out_proj;
      add<AllReduce>(Scaling::tokens, last ? "state_all_reduce" : "x_all_reduce", wide(w->out));
    }
  }

  /// The projections for which `takes` holds, those of one role together.
  template <class Takes>
  void project_if(Takes takes) {
    const auto& all = p.projections;
    for (std::size_t i = 0; i < all.size();) {
      const auto joins = [&](const StateProjection& w) {
        return w.role == all[i].role && w.in == all[i].in && w.split == all[i].split &&
               w.bias == all[i].bias && w.rank == 0 && w.blocks == 1;
      };
      std::size_t end = i + 1;
      if (joins(all[i]) && all[i].split != StateSplit::rows)
        while (end < all.size() && joins(all[end])) ++end;
      if (takes(all[i].role)) project(&all[i], end - i);
      i = end;
    }
  }
};
}  // namespace

ScaledOperators state_operators(const StateParams& p, std::int64_t hidden) {
  p.check();
  Builder b{p, hidden, {}};
  const auto before = [](StateRole role) {
    return role == StateRole::in_proj || role == StateRole::q_proj || role == StateRole::r_proj ||
           role == StateRole::k_proj || role == StateRole::v_proj;
  };
  const auto last = [](StateRole role) { return role == StateRole::out_proj; };
  b.add<Quantise>(Scaling::tokens, UnitGroup{hidden, 1}, false, Producer::norm, Module::mixer);
  if (p.token_shift.mixes > 0) b.add<ShiftTokens>(Scaling::tokens, p.token_shift, hidden);
  b.project_if(before);
  if (p.input_gate) b.add<GateInput>(Scaling::tokens, p);
  if (p.conv.width > 0) {
    b.add<ConvPrefill>(Scaling::prefill, p);
    b.add<ConvDecode>(Scaling::decode, p);
  }
  b.project_if([&](StateRole role) { return !before(role) && !last(role); });
  if (p.active_memories < p.memories) b.add<RouteMemories>(Scaling::tokens, p, hidden);
  b.add<StatePrefill>(Scaling::prefill, p);
  b.add<StateDecode>(Scaling::decode, p);
  if (p.output != OutputGate::none) b.add<GateOutput>(Scaling::tokens, p);
  b.project_if(last);
  return std::move(b.out);
}

}  // namespace orrery
