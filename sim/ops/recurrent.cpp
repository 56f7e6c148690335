#include "ops/recurrent.hpp"

#include <algorithm>
#include <cmath>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
using Dims = KernelClass::Dims;
using Scaling = KernelClass::Scaling;

enum class Rule { scalar, vector, delta, vector_delta };
constexpr bool is_delta(Rule rule) {
  return rule == Rule::delta || rule == Rule::vector_delta;
}
constexpr bool is_vector(Rule rule) {
  return rule == Rule::vector || rule == Rule::vector_delta;
}

/// Bytes of the gates and write strengths of one token: a gate per key channel in the activations' format, or
/// one fp32 per head; beta, one fp32 per head.
double gate_bytes(Rule rule, double heads, double key_dim, double element) {
  return heads * ((is_vector(rule) ? key_dim * element : 4.0) + (is_delta(rule) ? 4.0 : 0.0));
}

template <Rule rule>
Work chunked_work(const Dims& dims, DType dtype, DType state_dtype) {
  const double tokens = dims[0], seqs = dims[1], heads = dims[2], key_heads = dims[3];
  const double dk = dims[4], dv = dims[5], chunk = dims[6], element = bytes_per_element(dtype);
  const double scores = is_delta(rule) ? 2 : 1, shared = key_heads / heads;
  const double subchunk = std::min(16.0, chunk);
  Work w;
  double tensor = scores * 2 * chunk * dk * shared + 2 * chunk * dv + 4 * dk * dv;
  double vector = 2 * chunk * scores + dk * dv / chunk;  // the mask with its decay; the state's decay
  double between = dk * dv / chunk;                      // elements stored by one pass and read by the next
  if (is_delta(rule)) {
    tensor += 2 * chunk * (dk + dv) + 2 * dk * dv;
    vector += chunk * chunk / 3;
    between += dk + 2 * dv;  // W, U, and U less what the state already holds
  }
  if (is_vector(rule)) vector += scores * 4 * dk * (subchunk + 1) / 2 + 4 * dk;
  w.tensor_flops = tokens * heads * tensor;
  w.tensor_dtype = dtype;
  w.vector_flops = tokens * heads * vector;
  const double states = seqs * heads * dk * dv * bytes_per_element(state_dtype);
  w.hbm_read_bytes = tokens * ((2 * key_heads * dk + heads * (dv + between)) * element +
                               gate_bytes(rule, heads, dk, element)) +
                     states;
  w.hbm_write_bytes = tokens * heads * (dv + between) * element + states;
  return w;
}

template <Rule rule>
Work step_work(const Dims& dims, DType dtype, DType state_dtype) {
  const double seqs = dims[0], heads = dims[1], key_heads = dims[2], dk = dims[3], dv = dims[4];
  const double element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = seqs * heads * (is_delta(rule) ? 7 : 5) * dk * dv;
  const double states = seqs * heads * dk * dv * bytes_per_element(state_dtype);
  w.hbm_read_bytes =
      seqs * ((2 * key_heads * dk + heads * dv) * element + gate_bytes(rule, heads, dk, element)) + states;
  w.hbm_write_bytes = seqs * heads * dv * element + states;
  return w;
}

/// `launches`: kernels that the reference implementations (flash-linear-attention, mamba_ssm) make of it.
constexpr KernelClass chunked(std::string_view name, std::string_view help,
                              Work (*work)(const Dims&, DType, DType), int launches) {
  return {name,
          Scaling::prefill,
          {"tokens", "seqs", "heads", "key_heads", "key_dim", "value_dim", "chunk"},
          help,
          work,
          nullptr,
          launches};
}
constexpr KernelClass step(std::string_view name, std::string_view help,
                           Work (*work)(const Dims&, DType, DType)) {
  return {name, Scaling::decode, {"seqs", "heads", "key_heads", "key_dim", "value_dim"}, help, work};
}
}  // namespace

constexpr KernelClass kLinearAttention =
    chunked("linear_attention", "additive state with a scalar decay or none, in chunks",
            chunked_work<Rule::scalar>, 2);
constexpr KernelClass kGatedLinearAttention =
    chunked("gated_linear_attention", "a gate per key channel, in chunks", chunked_work<Rule::vector>, 5);
constexpr KernelClass kDeltaRule =
    chunked("delta_rule", "delta rule with a scalar gate or none, in chunks", chunked_work<Rule::delta>, 6);
constexpr KernelClass kGatedDeltaRule =
    chunked("gated_delta_rule", "delta rule with a gate per key channel, in chunks",
            chunked_work<Rule::vector_delta>, 6);
constexpr KernelClass kSsd =
    chunked("ssd", "Mamba-2's state-space duality, in chunks", chunked_work<Rule::scalar>, 5);

constexpr KernelClass kLinearAttentionDecode =
    step("linear_attention_decode", "one token against an additive state", step_work<Rule::scalar>);
constexpr KernelClass kGatedLinearAttentionDecode =
    step("gated_linear_attention_decode", "one token, a gate per key channel", step_work<Rule::vector>);
constexpr KernelClass kDeltaRuleDecode =
    step("delta_rule_decode", "one token by the delta rule", step_work<Rule::delta>);
constexpr KernelClass kGatedDeltaRuleDecode =
    step("gated_delta_rule_decode", "one token by the delta rule, a gate per key channel",
         step_work<Rule::vector_delta>);
constexpr KernelClass kSsdDecode =
    step("ssd_decode", "one token against a Mamba-2 state", step_work<Rule::scalar>);

namespace {
/// x, delta and z read and y written per channel, B and C per token; A, D and the bias of delta in fp32.
Work scan_work(double tokens, double seqs, double channels, double state, DType dtype, DType state_dtype) {
  const double element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = 9 * tokens * channels * state;
  w.weight_bytes = channels * (state + 2) * 4;
  const double states = seqs * channels * state * bytes_per_element(state_dtype);
  w.hbm_read_bytes = tokens * (3 * channels + 2 * state) * element + states + w.weight_bytes;
  w.hbm_write_bytes = tokens * channels * element + states;
  return w;
}
Work conv_work(double tokens, double seqs, double channels, double width, DType dtype) {
  const double element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = 2 * tokens * channels * width;
  w.weight_bytes = channels * (width + 1) * element;
  const double kept = seqs * channels * (width - 1) * element;
  w.hbm_read_bytes = tokens * channels * element + kept + w.weight_bytes;
  w.hbm_write_bytes = tokens * channels * element + kept;
  return w;
}
/// Per head r, w, k, v (and for RWKV-7 a and b) of head_dim in the activations' format; u in fp32.
Work wkv_work(double tokens, double seqs, double heads, double dim, bool seventh, DType dtype,
              DType state_dtype) {
  const double element = bytes_per_element(dtype), width = heads * dim;
  Work w;
  w.vector_flops = tokens * width * (seventh ? 9 * dim : 5 * dim + 4);
  w.weight_bytes = seventh ? 0 : width * 4;
  const double states = seqs * width * dim * bytes_per_element(state_dtype);
  w.hbm_read_bytes = tokens * width * (seventh ? 6 : 4) * element + states + w.weight_bytes;
  w.hbm_write_bytes = tokens * width * element + states;
  return w;
}
Work gated_work(double tokens, double seqs, double channels, double streams, DType dtype, DType state_dtype) {
  const double element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = tokens * channels * (3 + 4 * streams);
  const double states = seqs * channels * bytes_per_element(state_dtype);
  w.hbm_read_bytes = tokens * channels * streams * element + states;
  w.hbm_write_bytes = tokens * channels * element + states;
  return w;
}
Work long_convolution_work(const Dims& dims, DType dtype, DType) {
  const double rows = dims[0] * dims[1], length = dims[2], points = 2 * length;
  Work w;
  w.vector_flops = rows * (2 * 2.5 * points * std::log2(points) + 6 * (length + 1));
  w.weight_bytes = dims[1] * (length + 1) * 8;
  w.hbm_read_bytes = rows * length * bytes_per_element(dtype) + w.weight_bytes;
  w.hbm_write_bytes = rows * length * bytes_per_element(dtype);
  return w;
}
}  // namespace

constexpr KernelClass kSelectiveScan{
    "selective_scan",
    Scaling::prefill,
    {"tokens", "seqs", "channels", "state"},
    "Mamba's selective scan of prompts",
    [](const Dims& d, DType t, DType s) { return scan_work(d[0], d[1], d[2], d[3], t, s); }};
constexpr KernelClass kSelectiveScanDecode{
    "selective_scan_decode",
    Scaling::decode,
    {"seqs", "channels", "state"},
    "one token of Mamba's selective scan",
    [](const Dims& d, DType t, DType s) { return scan_work(d[0], d[0], d[1], d[2], t, s); }};
constexpr KernelClass kCausalConv{
    "causal_conv",
    Scaling::prefill,
    {"tokens", "seqs", "channels", "width"},
    "short causal depthwise convolution of prompts",
    [](const Dims& d, DType t, DType) { return conv_work(d[0], d[1], d[2], d[3], t); }};
constexpr KernelClass kCausalConvDecode{
    "causal_conv_decode",
    Scaling::decode,
    {"seqs", "channels", "width"},
    "one token of the short causal convolution",
    [](const Dims& d, DType t, DType) { return conv_work(d[0], d[0], d[1], d[2], t); }};
constexpr KernelClass kWkv6{
    "wkv6",
    Scaling::prefill,
    {"tokens", "seqs", "heads", "head_dim"},
    "RWKV-6 state recurrence of prompts",
    [](const Dims& d, DType t, DType s) { return wkv_work(d[0], d[1], d[2], d[3], false, t, s); }};
constexpr KernelClass kWkv7{
    "wkv7",
    Scaling::prefill,
    {"tokens", "seqs", "heads", "head_dim"},
    "RWKV-7 state recurrence of prompts",
    [](const Dims& d, DType t, DType s) { return wkv_work(d[0], d[1], d[2], d[3], true, t, s); }};
constexpr KernelClass kWkv6Decode{
    "wkv6_decode",
    Scaling::decode,
    {"seqs", "heads", "head_dim"},
    "one token of the RWKV-6 recurrence",
    [](const Dims& d, DType t, DType s) { return wkv_work(d[0], d[0], d[1], d[2], false, t, s); }};
constexpr KernelClass kWkv7Decode{
    "wkv7_decode",
    Scaling::decode,
    {"seqs", "heads", "head_dim"},
    "one token of the RWKV-7 recurrence",
    [](const Dims& d, DType t, DType s) { return wkv_work(d[0], d[0], d[1], d[2], true, t, s); }};
constexpr KernelClass kGatedScan{
    "gated_scan",
    Scaling::prefill,
    {"tokens", "seqs", "channels", "streams"},
    "elementwise gated recurrence of prompts",
    [](const Dims& d, DType t, DType s) { return gated_work(d[0], d[1], d[2], d[3], t, s); }};
constexpr KernelClass kGatedScanDecode{
    "gated_scan_decode",
    Scaling::decode,
    {"seqs", "channels", "streams"},
    "one token of an elementwise gated recurrence",
    [](const Dims& d, DType t, DType s) { return gated_work(d[0], d[0], d[1], d[2], t, s); }};
constexpr KernelClass kLongConvolution{"long_convolution",
                                       Scaling::prefill,
                                       {"seqs", "channels", "length"},
                                       "convolution with a filter as long as the sequence, by FFT",
                                       long_convolution_work};

namespace {
Registration<KernelClasses> listed(const KernelClass& cls) {
  return {std::string(cls.name), std::string(cls.help), &cls};
}
const Registration<KernelClasses> classes[] = {listed(kLinearAttention),
                                               listed(kGatedLinearAttention),
                                               listed(kDeltaRule),
                                               listed(kGatedDeltaRule),
                                               listed(kSsd),
                                               listed(kLinearAttentionDecode),
                                               listed(kGatedLinearAttentionDecode),
                                               listed(kDeltaRuleDecode),
                                               listed(kGatedDeltaRuleDecode),
                                               listed(kSsdDecode),
                                               listed(kSelectiveScan),
                                               listed(kSelectiveScanDecode),
                                               listed(kCausalConv),
                                               listed(kCausalConvDecode),
                                               listed(kWkv6),
                                               listed(kWkv7),
                                               listed(kWkv6Decode),
                                               listed(kWkv7Decode),
                                               listed(kGatedScan),
                                               listed(kGatedScanDecode),
                                               listed(kLongConvolution)};
}  // namespace

}  // namespace orrery
