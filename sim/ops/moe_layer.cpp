#include "ops/moe_layer.hpp"

#include <memory>

#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/expert_exchange.hpp"
#include "ops/linear.hpp"
#include "ops/moe_experts.hpp"
#include "ops/moe_product_key.hpp"
#include "ops/moe_soft.hpp"

namespace orrery {

namespace {

/// A dense part of the layer on the tokens that a rank works on before rows move: where tensor-parallel ranks
/// share out the tokens, its part of them, with the weights whole.
class OnOwnTokens final : public Operator {
 public:
  /// `whole`: on every rank in any case.
  OnOwnTokens(OperatorPtr op, bool whole) : op_(std::move(op)), whole_(whole) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const int parts = ExpertSplit(ctx).token_parts;
    if (parts == 1) return op_->lower(batch, local(ctx), out);
    op_->lower(batch_of_rows(static_cast<double>(batch.dense_tokens()) / parts), local(ctx), out);
  }
  double parameters() const override { return op_->parameters(); }
  double weight_bytes(const LoweringContext& ctx) const override { return op_->weight_bytes(local(ctx)); }

 private:
  LoweringContext local(const LoweringContext& ctx) const {
    LoweringContext own = ctx;
    if (whole_ || ExpertSplit(ctx).token_parts > 1) own.shard.tp = 1;
    return own;
  }
  OperatorPtr op_;
  bool whole_;
};

/// The experts' rows and the shared experts' added; with a gate, this sum weighted by a sigmoid.
class SharedSum final : public Operator {
 public:
  SharedSum(std::int64_t hidden, bool gate) : hidden_(static_cast<double>(hidden)), gate_(gate) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    const double row = hidden_ * bytes_per_element(ctx.precision.activation);
    push_elementwise(kResidualAdd, "shared_add", batch, ctx, {2 * row, row, (gate_ ? 2 : 1) * hidden_}, out);
  }

 private:
  double hidden_;
  bool gate_;
};

/// Collects the operators; all depend on the number of tokens.
class LayerBuilder {
 public:
  LayerBuilder(const MoeParams& params, std::int64_t hidden) : params_(params), hidden_(hidden) {}

  template <class Op, class... Args>
  void add(Args&&... args) {
    out.emplace_back(std::make_shared<Op>(std::forward<Args>(args)...), KernelClass::Scaling::tokens);
  }
  template <class Op, class... Args>
  void add_own(bool whole, Args&&... args) {
    if (!params_.routed()) return add<Op>(std::forward<Args>(args)...);
    add<OnOwnTokens>(std::make_shared<Op>(std::forward<Args>(args)...), whole);
  }

  /// Up and down projections of a dense feed-forward of `width`.
  void add_dense(std::int64_t width) {
    const UnitGroup all{hidden_}, columns{width};
    const std::vector<UnitGroup> up(params_.gated ? 2 : 1, columns);
    add_own<Quantise>(false, all, false, Producer::norm);
    add_own<Linear>(false, "gate_up_proj", std::vector{all}, up, TensorSplit::columns, false);
    add_own<Activation>(false, width, params_.gated);
    add_own<Quantise>(false, columns, true, Producer::activation);
    add_own<Linear>(false, "down_proj", std::vector{columns}, std::vector{all}, TensorSplit::rows, false);
  }
  void add_shared() {
    if (params_.shared_experts == 0) return;
    add_dense(params_.shared_experts * params_.shared_width);
    if (!params_.shared_gate) return;
    add_own<Linear>(true, "shared_gate", std::vector{UnitGroup{hidden_}}, std::vector{UnitGroup{1}},
                    TensorSplit::columns, false);
  }
  void add_latent(std::string_view role, std::int64_t from, std::int64_t to) {
    if (params_.latent == 0) return;
    add_own<Linear>(true, role, std::vector{UnitGroup{from}}, std::vector{UnitGroup{to}},
                    TensorSplit::columns, false);
  }

  void add_routed() {
    const std::int64_t width = params_.expert_hidden(hidden_);
    if (params_.router != ExpertRouter::hash) add<RouterProjection>(params_, hidden_);
    add_latent("latent_down", hidden_, width);
    add_own<Quantise>(true, UnitGroup{width}, false, Producer::norm, Module::experts);
    add<ExpertRouting>(params_, hidden_);
    add<ExpertDispatch>(width, params_.experts, params_.mean_active());
    add<RoutedExperts>(params_, hidden_);
    add<ExpertCombine>(width, params_.experts, params_.mean_active());
    if (params_.latent_norm) add_own<RmsNorm>(true, "latent_norm", width, false, true);
    add_latent("latent_up", width, hidden_);
  }
  void add_soft() {
    add<SoftMixing>(params_, hidden_, SoftMixing::Side::into_slots);
    add<RoutedExperts>(params_, hidden_);
    add<SoftMixing>(params_, hidden_, SoftMixing::Side::out_of_slots);
  }
  void add_experts() {
    switch (params_.router) {
      case ExpertRouter::soft:
        return add_soft();
      case ExpertRouter::product_key:
        return add<ProductKeyExperts>(params_, hidden_);
      default:
        return add_routed();
    }
  }

  std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> out;

 private:
  const MoeParams& params_;
  std::int64_t hidden_;
};

}  // namespace

std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> moe_operators(const MoeParams& params,
                                                                        std::int64_t hidden) {
  params.check();
  LayerBuilder layer(params, hidden);
  if (params.routed()) {
    layer.add_shared();
    layer.add_experts();
    if (params.shared_experts > 0) layer.add_own<SharedSum>(true, hidden, params.shared_gate);
  } else {
    layer.add_dense(params.shared_experts * params.shared_width + params.experts * params.width);
  }
  params.routed() ? layer.add<ExpertJoin>(hidden) : layer.add<AllReduce>("mlp_all_reduce", hidden);
  return std::move(layer.out);
}

}  // namespace orrery
