#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/linear.hpp"
#include "ops/operator.hpp"

namespace orrery {

// A mixer that keeps a state of fixed size per sequence instead of keys and values (block StateOp): linear
// attention, state-space models, recurrences, memories trained at test time. One struct holds them all; what
// a method is called is no part of it.

/// How a token changes the state and reads it.
enum class StateRule : std::uint8_t {
  additive,             ///< S += k v^T (Katharopoulos et al., 2020)
  scalar_decay,         ///< S = g S + k v^T, g constant or per token, one per head (RetNet, 2023)
  vector_gate,          ///< a gate per key channel and token (GLA, 2024)
  delta,                ///< S += beta k (v - k^T S)^T (DeltaNet, 2021 and 2024)
  gated_delta,          ///< delta with a gate per head (Gated DeltaNet, 2024)
  channel_gated_delta,  ///< delta with a gate per key channel (Kimi Delta Attention, 2025)
  dplr,                 ///< S (diag(w) + a b^T) + v k^T (RWKV-7, 2025)
  wkv4,                 ///< weighted averages per channel (RWKV-4, 2023)
  wkv6,                 ///< vector_gate with a bonus for the newest token (RWKV-6, 2024)
  selective_scan,       ///< a diagonal state space per channel with input-dependent steps (Mamba, 2023)
  ssd,                  ///< one decay per head, B and C shared by groups (Mamba-2, 2024)
  elementwise,          ///< h = a h + b per channel (LRU, RG-LRU, HGRN)
  serial,               ///< gates that see the last output: one step after the other (sLSTM, 2024)
  lti,                  ///< a fixed filter per channel (S4, 2021; Hyena, 2023)
  slots,                ///< softmax over a bounded set of slots (ABC, 2021; Gated Slot Attention, 2024)
  gradient,             ///< weights trained by mini-batches of tokens (TTT, 2024; Titans, 2024)
  iterative,            ///< least squares by conjugate gradients (MesaNet, 2025)
  convolution           ///< none: the short convolution alone (LFM2, 2025)
};
std::span<const std::string_view> enum_names(StateRule);

/// How prompts run through the rule. `automatic`: as its kernels do (chunk for matrix states, fft for
/// filters, recurrent for serial rules, scan for the others).
enum class StateAlgorithm : std::uint8_t {
  automatic,
  recurrent,  ///< one step of the decode kernel per token, in sequence
  chunk,      ///< matrix products inside chunks, states between them
  scan,       ///< one launch that keeps the state on chip
  fft
};
std::span<const std::string_view> enum_names(StateAlgorithm);

/// What queries and keys become before they meet the state, inside the kernel; it sets the state's key
/// dimension.
enum class FeatureMap : std::uint8_t {
  none,           ///< identity, elu + 1 and other maps of the same width
  taylor,         ///< 1 + d + d^2: second-order Taylor of exp (Based, Arora et al., 2024)
  taylor_packed,  ///< 1 + d + d (d + 1) / 2: the same without its symmetric half
  doubled,        ///< exp(x) and exp(-x) of `features` numbers, 0 = key_dim (Hedgehog, Zhang et al., 2024)
  random          ///< `features` random ones (RFA, Peng et al., 2021)
};
std::span<const std::string_view> enum_names(FeatureMap);

/// What follows the readout, before the output projection.
enum class OutputGate : std::uint8_t {
  none,       ///< nothing, or inside the kernel (Mamba's z)
  product,    ///< y act(z)
  norm,       ///< a norm per head
  gated_norm  ///< a norm and y act(z), one kernel
};
std::span<const std::string_view> enum_names(OutputGate);

/// Where a projection stands. Consecutive projections of one role (full rank, one block) are columns of one
/// matrix and one GEMM. in, q, r, k and v run before the convolution, out last.
enum class StateRole : std::uint8_t {
  in_proj,
  q_proj,
  r_proj,
  k_proj,
  v_proj,
  map_proj,   ///< learned feature maps of queries and keys
  mix_proj,   ///< token shifts that depend on data (RWKV-6)
  gate_proj,  ///< output gate, or RG-LRU's gates
  decay_proj,
  beta_proj,
  x_proj,   ///< Mamba's step, B and C from the convolved input
  dt_proj,  ///< its step per channel
  router,   ///< over memories
  out_proj
};
std::span<const std::string_view> enum_names(StateRole);

/// Which side of a projection tensor parallelism divides; `rows` are followed by an all-reduce.
enum class StateSplit : std::uint8_t { columns, rows, replicated };
std::span<const std::string_view> enum_names(StateSplit);

/// W[in, out], or with `rank` the product A[in, rank] B[rank, out], A on every rank; with `blocks` the matrix
/// (or B) is block-diagonal.
struct StateProjection {
  StateRole role = StateRole::in_proj;
  std::int64_t in = 0, out = 0;  ///< widths, 0 = the model's hidden width
  std::int64_t units = 0;  ///< whole units of the divided side (heads, groups); 0 = any column may be cut
  std::int64_t blocks = 1;
  std::int64_t rank = 0;  ///< 0 = full
  bool bias = false;
  StateSplit split = StateSplit::columns;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("role", p.role), v("in", p.in), v("out", p.out), v("units", p.units), v("blocks", p.blocks);
    v("rank", p.rank), v("bias", p.bias), v("split", p.split);
  }
  bool operator==(const StateProjection&) const = default;
};

/// A short causal depthwise convolution before the rule; the last width - 1 inputs are kept. width 0 = none.
struct StateConv {
  std::int64_t width = 0, channels = 0;
  bool bias = false;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("width", p.width), v("channels", p.channels), v("bias", p.bias);
  }
  bool operator==(const StateConv&) const = default;
};

/// RWKV's interpolation of a token's input with the one before it: `mixes` results of hidden width each; the
/// last input is kept `kept` times (twice when the feed-forward of the layer shifts its own). 0 = none.
struct TokenShift {
  std::int64_t mixes = 0, kept = 1;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("mixes", p.mixes), v("kept", p.kept);
  }
  bool operator==(const TokenShift&) const = default;
};

/// One state mixer, over the whole model. Matrix states have heads, key_heads, key_dim and value_dim; the
/// others channels and state.
struct StateParams {
  StateRule rule = StateRule::additive;
  StateAlgorithm algorithm = StateAlgorithm::automatic;
  std::int64_t heads = 0;
  std::int64_t key_heads = 0;  ///< heads of queries and keys (Mamba-2: groups of B and C); 0 = heads
  std::int64_t key_dim = 0;    ///< per head, before the feature map (Mamba-2: its state size N)
  std::int64_t value_dim = 0;  ///< per head; 0 = key_dim
  std::int64_t channels = 0;
  std::int64_t state = 0;    ///< real numbers per channel; lti with 0 = a filter without a recurrent form
  std::int64_t streams = 2;  ///< elementwise: tensors the gates and inputs come from
  std::int64_t chunk = 64;   ///< tokens; of gradient: its mini-batch
  FeatureMap feature_map = FeatureMap::none;
  std::int64_t features = 0;         ///< of FeatureMap::random and doubled
  bool normaliser = false;           ///< the sum of keys is kept beside the state
  std::int64_t memories = 1;         ///< states kept (MoM), a shared one included
  std::int64_t active_memories = 1;  ///< those a token updates and reads
  bool levels = false;               ///< a state per level of a Fenwick tree (log-linear attention)
  std::int64_t householder = 1;      ///< delta steps per token (DeltaProduct)
  std::int64_t slots = 0;            ///< of rule slots
  std::int64_t iterations = 0;       ///< of rule iterative
  std::int64_t depth = 1;            ///< gradient: layers of the trained network
  std::int64_t expansion = 4;        ///< gradient: its inner width over key_dim
  bool momentum = false;             ///< gradient: a second state as large
  DType state_dtype = DType::fp32;   ///< of the recurrence's state
  bool input_gate = false;           ///< a product of two projections goes into the convolution (LFM2, Hyena)
  StateConv conv;
  TokenShift token_shift;
  OutputGate output = OutputGate::none;
  std::vector<StateProjection> projections;
  std::int64_t other_parameters = 0;  ///< A, D, biases of steps and gates, norms, mixes

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("rule", p.rule), v("algorithm", p.algorithm);
    v("heads", p.heads), v("key_heads", p.key_heads), v("key_dim", p.key_dim), v("value_dim", p.value_dim);
    v("channels", p.channels), v("state", p.state), v("streams", p.streams), v("chunk", p.chunk);
    v("feature_map", p.feature_map), v("features", p.features), v("normaliser", p.normaliser);
    v("memories", p.memories), v("active_memories", p.active_memories), v("levels", p.levels);
    v("householder", p.householder), v("slots", p.slots), v("iterations", p.iterations);
    v("depth", p.depth), v("expansion", p.expansion), v("momentum", p.momentum);
    v("state_dtype", p.state_dtype), v("input_gate", p.input_gate), v("conv", p.conv),
        v("token_shift", p.token_shift);
    v("output", p.output), v("projections", p.projections), v("other_parameters", p.other_parameters);
  }
  bool operator==(const StateParams&) const = default;

  /// Errors: ConfigError naming the field when fields contradict each other.
  void check() const;
  /// What tensor parallelism divides: heads, or channels. Ranks must divide it.
  std::int64_t units() const { return heads > 0 ? heads : channels; }
  StateAlgorithm prompt_algorithm() const;  ///< `automatic` resolved
  std::int64_t feature_dim() const;         ///< the state's key dimension: key_dim after the feature map
  std::int64_t width() const;               ///< of the output: heads * value_dim, or channels
};

/// Numbers one sequence of `context` tokens keeps in the recurrence's state on each of `ranks` ranks, without
/// the inputs of convolutions and token shifts.
double state_elements(const StateParams& p, Tokens context, int ranks);

/// How a prompt of n tokens runs through the rule, whatever its sizes: combinations of states with states or
/// tokens, and how many of them follow one another. Recurrent n of both; chunks (and mini-batches) ceil(n /
/// C); a work-efficient parallel scan (Brent and Kung, 1982; Blelloch, 1990) less than 2 n in less than 2
/// ceil(log2 n) levels; the FFT's butterflies, twice points / 2 log2 points over as many levels.
struct PromptSchedule {
  double combinations = 0, depth = 0;
};
PromptSchedule prompt_schedule(const StateParams& p, Tokens n);

/// The rule over prompt chunks. Also holds other_parameters, divided over ranks as the units are.
class StatePrefill final : public Operator {
 public:
  explicit StatePrefill(const StateParams& params) : p_(params) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override { return static_cast<double>(p_.other_parameters); }
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  StateParams p_;
};

/// The rule over the decode set. Holds the state.
class StateDecode final : public Operator {
 public:
  explicit StateDecode(const StateParams& params) : p_(params) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double state_bytes(Tokens context, const LoweringContext& ctx) const override;

 private:
  StateParams p_;
};

using ScaledOperators = std::vector<std::pair<OperatorPtr, KernelClass::Scaling>>;

/// The whole mixer in the order an engine runs it: quantisation of the normed input, token shift, input
/// projections, convolution, further projections, the rule (prompts, then decode), output gate, quantisation,
/// output projection and its all-reduce (role "state_all_reduce"). The norm before it is the layer's. Errors:
/// ConfigError as check().
ScaledOperators state_operators(const StateParams& p, std::int64_t hidden);

}  // namespace orrery
