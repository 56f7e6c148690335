#pragma once

#include <optional>
#include <span>
#include <vector>

#include "hw/device_profile.hpp"
#include "hw/host_profile.hpp"
#include "model/model_spec.hpp"
#include "ops/offload_policy.hpp"

namespace orrery {

/// What a machine of three tiers reaches: bytes per second between them, operations per second on GPU and
/// host. Where a machine was measured these are fits; else shares of its datasheets (tier_rates).
struct TierRates {
  double load = 0;                                    ///< host memory to GPU
  double store = 0, store_hidden = 0;                 ///< GPU to host memory: KV cache, hidden states
  double read = 0, write = 0;                         ///< drives
  double prompt_products = 0, decode_products = 0;    ///< FLOP/s of a layer's matrices
  double prompt_attention = 0, decode_attention = 0;  ///< FLOP/s of attention on the GPU
  double host_attention = 0;                          ///< FLOP/s of decode attention on the host
  double device_memory = 0;                           ///< bytes/s: what unpacking compressed tensors moves
};
TierRates tier_rates(const DeviceProfile& device, const HostProfile& host);

/// A block of requests that go through the layers together: each layer's weights are loaded once and serve
/// `batches` batches of `rows` requests in turn.
struct RequestBlock {
  std::int64_t rows = 1, batches = 1;
  Tokens prompt = 0, output = 0;
  std::int64_t size() const { return rows * batches; }
};

/// Seconds of one layer for the whole block.
struct LayerTime {
  double load = 0, store = 0, read = 0, write = 0, compute = 0;
  double longest() const;
  double sum() const { return load + store + read + write + compute; }
};

/// Bytes held in each tier at most.
struct TierBytes {
  double gpu = 0, host = 0, disk = 0;
};

struct BlockSchedule {
  LayerTime prompt, decode;
  double seconds = 0;       ///< layers (T_prompt + T_decode (output - 1))
  double tokens_per_s = 0;  ///< of the whole block, its prompts' time included
  TierBytes held;
};

/// The zig-zag block schedule of FlexGen (Sheng et al., 2023, section 4 and appendix A.3) for any model whose
/// layers are alike: T = l (T_prompt + T_decode (n - 1)), each the longest of loading, storing, reading,
/// writing and computing a layer, or their sum without overlap. Decode attention stands at the context's
/// middle. Compressed weights and keys (4-bit groups in `ctx`) move as such; `unpacking` bytes of device
/// memory are moved for each of their values before use, every batch anew, and the host computes no attention
/// over them.
class BlockModel {
 public:
  /// Errors: ORRERY_CHECK for a model without layers.
  BlockModel(const ModelSpec& model, const LoweringContext& ctx, const TierRates& rates,
             double unpacking = 0);
  BlockSchedule schedule(const OffloadPolicy& policy, const RequestBlock& block) const;

 private:
  LayerTime prompt_time(const OffloadPolicy& p, const RequestBlock& b) const;
  LayerTime decode_time(const OffloadPolicy& p, const RequestBlock& b) const;
  TierBytes held(const OffloadPolicy& p, const RequestBlock& b) const;

  TierRates rates_;
  double layers_;
  double weight_bytes_, weights_;      ///< of a layer: bytes, and matrix entries
  double token_bytes_, hidden_bytes_;  ///< KV cache and hidden state of a token and layer
  double token_values_;                ///< entries of that cache
  double attention_flops_;             ///< of a query and key in a layer
  double inner_bytes_;                 ///< of a token inside a layer's feed-forward and attention
  double unpack_s_per_weight_, unpack_s_per_value_;
};

/// A policy and a block with what they come to.
struct BlockPlan {
  OffloadPolicy policy;
  RequestBlock block;
  BlockSchedule schedule;
};
/// The plan of the highest throughput among `blocks` and all shares in `steps` equal parts that fit into
/// `room`: FlexGen's linear programme (section 4.3), solved by trying. None where nothing fits.
std::optional<BlockPlan> best_plan(const BlockModel& model, std::span<const RequestBlock> blocks,
                                   const TierBytes& room, bool host_attention, int steps = 10);

}  // namespace orrery
