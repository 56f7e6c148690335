#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// Kernels of linear attention, state-space models and other recurrences: a state of fixed size per sequence
// instead of a KV cache. Calls carry the format of the activations as dtype and that of the state as
// weight_dtype (fp32 in engines). Counts are per rank. Those of a decode are linear in the sequences, those
// of a prefill in the tokens, plus the state read and written once per sequence.

// Matrix states S[key_dim, value_dim] per head, prefill in chunks of `chunk` tokens (Hua et al., GAU, 2022;
// Sun et al., RetNet, 2023; Yang et al., GLA, 2024). dims: tokens, seqs, heads, key_heads (heads that share
// their queries and keys count once), key_dim, value_dim, chunk.
// Tensor FLOPs per token and head: scores 2 C d_k (once per key head), their product with the values
// 2 C d_v, the state's readout and update 4 d_k d_v. Beside the operands, the states at the chunks' starts
// are written and read.

/// S += k v^T, with S decayed before by nothing, a constant or a scalar per head and token (Katharopoulos et
/// al., 2020; RetNet; Lightning attention, Qin et al., 2024).
extern const KernelClass kLinearAttention;
/// A gate per key channel and token (GLA, Yang et al., 2024): within sub-chunks of 16 tokens the scores are
/// not matrix products (section 4.3) but run on the ordinary units.
extern const KernelClass kGatedLinearAttention;
/// S += beta k (v - k^T S)^T, with or without a scalar gate (DeltaNet and Gated DeltaNet, Yang et al., 2024)
/// in the WY form: C (6 d_k + 4 d_v) + 6 d_k d_v per token and head, and C^2 / 3 for the triangular inverse.
/// Its W and U are written and read too.
extern const KernelClass kDeltaRule;
/// The delta rule with a gate per key channel (Kimi Delta Attention, 2025).
extern const KernelClass kGatedDeltaRule;
/// Mamba-2 (Dao and Gu, SSD, 2024, section 6), as kLinearAttention with the state size N as key_dim, the head
/// size P as value_dim, B and C shared by groups: 2 C N groups / heads + 2 C P + 4 N P per token and head.
extern const KernelClass kSsd;

// The same rules for one token per sequence: the state is read, updated, read out and written. dims: seqs,
// heads, key_heads, key_dim, value_dim. FLOPs per head: 5 d_k d_v with a decay (always counted), 7 d_k d_v
// for the delta rules.
extern const KernelClass kLinearAttentionDecode;
extern const KernelClass kGatedLinearAttentionDecode;
extern const KernelClass kDeltaRuleDecode;
extern const KernelClass kGatedDeltaRuleDecode;
extern const KernelClass kSsdDecode;

/// Mamba's selective scan (Gu and Dao, 2023, algorithm 2): 9 FLOPs per token, channel and state; x, delta,
/// the output gate z, B and C read, y written, states once per sequence. dims: tokens, seqs, channels, state.
extern const KernelClass kSelectiveScan;
/// dims: seqs, channels, state.
extern const KernelClass kSelectiveScanDecode;
/// The causal depthwise convolution before it (and before Mamba-2, Gated DeltaNet): 2 width FLOPs per token
/// and channel; the last width - 1 inputs of each sequence are its state. dims: tokens, seqs, channels,
/// width.
extern const KernelClass kCausalConv;
/// dims: seqs, channels, width.
extern const KernelClass kCausalConvDecode;

/// RWKV-6 (Peng et al., 2024): S = diag(w) S + k v^T with r (diag(u) k v^T + S) read out; 5 d^2 per
/// token and head and the bonus. dims: tokens, seqs, heads, head_dim.
extern const KernelClass kWkv6;
/// RWKV-7 (Peng et al., 2025): S = S (diag(w) + a b^T) + v k^T; 9 d^2 per token and head. dims as
/// kWkv6.
extern const KernelClass kWkv7;
/// dims: seqs, heads, head_dim.
extern const KernelClass kWkv6Decode;
extern const KernelClass kWkv7Decode;

/// h = a h + b per channel (RG-LRU of Griffin, De et al., 2024; HGRN, Qin et al., 2023; minGRU, Feng et al.,
/// 2024): `streams` tensors [tokens, channels] are read, from which a and b come elementwise, one is written.
/// 3 FLOPs per token and channel (catalogue of Blelloch's scan: 2 per combination) and 4 per stream for the
/// gates. dims: tokens, seqs, channels, streams.
extern const KernelClass kGatedScan;
/// dims: seqs, channels, streams.
extern const KernelClass kGatedScanDecode;

/// Causal convolution of each channel with a filter as long as the sequence through the FFT (Hyena, Poli et
/// al., 2023, section 3): a transform of 2 length points forward and one back per sequence and channel
/// (2.5 L log2 L FLOPs each for L real points), the product of the spectra between. The filter's spectrum
/// [channels, length + 1] is a parameter. dims: seqs, channels, length (padded, a power of two).
extern const KernelClass kLongConvolution;
/// The next output of such a filter, which has no state: all earlier inputs of a sequence times the filter, 2
/// FLOPs per token and channel. dims: seqs, context (summed), channels.
extern const KernelClass kLongConvolutionDecode;
/// One step of a fixed diagonal state space (S4D, Gu et al., 2022): `state` real numbers per channel are half
/// as many complex ones. A complex product (6), the input's term (4) and the real part of the readout (4)
/// make 7 FLOPs per number. A, B and C are parameters, complex. dims: seqs, channels, state.
extern const KernelClass kStateSpaceDecode;

/// RWKV-4 (Peng et al., 2023, section 3.1 and appendix): numerator, denominator and exponent per channel; 23
/// operations per token and channel. k, v read, the average written. dims: tokens, seqs, channels.
extern const KernelClass kWkv4;
/// dims: seqs, channels.
extern const KernelClass kWkv4Decode;

/// One step of sLSTM (Beck et al., xLSTM, 2024, section 2.2): the four gates see the last output of their
/// head through a block of the recurrent matrix, 8 head_dim FLOPs per channel, and about 20 operations per
/// channel follow. A prompt is as many steps, one after the other. dims: seqs, heads, head_dim.
extern const KernelClass kSlstmStep;

/// The numbers in a network of `depth` layers from dim to dim with inner width expansion * dim, biases
/// included: d^2 + d for one layer, 8 d^2 + 5 d for two of expansion 4 (Sun et al., TTT, 2024, section 2.5).
double network_elements(double dim, double depth, double expansion);

/// Test-time training in the dual form (Sun et al., 2024, section 2.5 and appendix A): per token and head the
/// network's forward on keys and on queries, the step of its weights (2 each per weight), the gradient
/// through all layers but the first (2), and within the mini-batch 2 b (in + out) per layer. For one layer 6
/// d^2 + 4 b d. Per mini-batch the weights are written and read again; with momentum twice that, and 3
/// operations per number. dims: tokens, seqs, heads, dim, depth, expansion, batch, momentum (0 or 1).
extern const KernelClass kTestTimeTraining;
/// dims: seqs, heads, dim, depth, expansion, momentum.
extern const KernelClass kTestTimeTrainingDecode;

/// Conjugate gradients on (H + Lambda) x = q (von Oswald et al., MesaNet, 2025, section 3): per iteration a
/// product with H, in chunks as linear attention's with the gated sum of keys: 2 d^2 + 4 C d per token and
/// head. dims: tokens, seqs, heads, key_dim, chunk, iterations.
extern const KernelClass kConjugateGradient;
/// 2 d^2 per iteration and head, H read once. dims: seqs, heads, key_dim, iterations.
extern const KernelClass kConjugateGradientDecode;

}  // namespace orrery
