#include <memory>

#include "base/error.hpp"
#include "model/lower_blocks.hpp"
#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"
#include "ops/moe_layer.hpp"

namespace orrery {
namespace {

using enum KernelClass::Scaling;

ScaledOperators dense_operators(const DenseParams& p, std::int64_t hidden_width) {
  const UnitGroup hidden{hidden_width, 1}, width{p.width, 1};
  const std::vector<UnitGroup> up(p.gated ? 2 : 1, width);
  ScaledOperators out;
  const auto add = [&](OperatorPtr op) { out.emplace_back(std::move(op), tokens); };
  add(std::make_shared<Quantise>(hidden, false, Producer::norm));
  add(std::make_shared<Linear>("gate_up_proj", std::vector{hidden}, up, TensorSplit::columns, p.bias));
  add(std::make_shared<Activation>(p.width, p.gated));
  add(std::make_shared<Quantise>(width, true, Producer::activation));
  add(std::make_shared<Linear>("down_proj", std::vector{width}, std::vector{hidden}, TensorSplit::rows,
                               p.bias));
  add(std::make_shared<AllReduce>("mlp_all_reduce", hidden_width));
  return out;
}

}  // namespace

ScaledOperators ffn_operators(const Ffn& ffn, std::int64_t hidden) {
  if (const auto* dense = std::get_if<DenseParams>(&ffn)) return dense_operators(*dense, hidden);
  if (const auto* moe = std::get_if<MoeParams>(&ffn)) return moe_operators(*moe, hidden);
  return {};
}

bool divides(const Ffn& ffn, const Shard& shard) {
  if (const auto* dense = std::get_if<DenseParams>(&ffn)) return dense->width % shard.tp == 0;
  if (const auto* moe = std::get_if<MoeParams>(&ffn)) {
    try {
      check_split(*moe, shard);
    } catch (const ConfigError&) {
      return false;
    }
  }
  return true;
}

}  // namespace orrery
