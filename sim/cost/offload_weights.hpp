#pragma once

#include "model/model_spec.hpp"
#include "ops/offload_policy.hpp"

namespace orrery {

/// Bytes of the layers' parameters alone on one rank; of them, those of dense feed-forwards.
double layer_weight_bytes(ModelSpec model, const LoweringContext& ctx);
double dense_weight_bytes(const ModelSpec& model, const LoweringContext& ctx);
/// Weights one GPU holds: all but the layers' offloaded share and cold neurons. Where loads overlap, two
/// layers' parts are on their way.
double weights_on_gpu(const ModelSpec& model, const LoweringContext& ctx, const OffloadPolicy& offload);

}  // namespace orrery
