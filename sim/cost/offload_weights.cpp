#include "cost/offload_weights.hpp"

#include <algorithm>
#include <utility>

namespace orrery {

double layer_weight_bytes(ModelSpec model, const LoweringContext& ctx) {
  model.has_embedding = model.has_head = false;
  model.final_norm = model.other_parameters = 0;
  model.encoder.reset();
  return model.weight_bytes(ctx);
}

double dense_weight_bytes(const ModelSpec& model, const LoweringContext& ctx) {
  ModelSpec without = model;
  for (LayerKind& kind : without.kinds) {
    if (dense_of(kind) != nullptr) kind.ffn = std::monostate{};
  }
  // The norm before a feed-forward goes with it: some vectors beside its matrices.
  return layer_weight_bytes(model, ctx) - layer_weight_bytes(std::move(without), ctx);
}

double weights_on_gpu(const ModelSpec& model, const LoweringContext& ctx, const OffloadPolicy& offload) {
  double all = model.weight_bytes(ctx);
  if (model.layers() == 0) return all;
  if (offload.neurons.hot < 1) all -= (1 - offload.neurons.hot) * dense_weight_bytes(model, ctx);
  if (offload.weights.away() == 0) return all;
  const double moved = offload.weights.away() * layer_weight_bytes(model, ctx);
  return all - moved + (offload.overlap ? std::min(moved, 2 * moved / model.layers()) : 0);
}

}  // namespace orrery
