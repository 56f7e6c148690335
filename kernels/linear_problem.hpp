#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "component.hpp"
#include "linear_attention.hpp"

namespace orrery::kernels {

// Random inputs of linear attention and its recurrence in double precision, for prompts and for single
// tokens.

/// Which update rule, and whether Mamba-2's additions (beta without the delta rule, skip) take part.
struct LinearRule {
  enum class Decay : std::uint8_t { none, constant, token, channel };
  Decay decay = Decay::none;
  bool delta = false, ssd = false;
};
/// Variants: "additive", "constant_decay", "scalar_gate", "vector_gate", "delta", "gated_delta",
/// "vector_gated_delta", "ssd".
LinearRule linear_rule(const std::string& variant);
/// The variants of a kernel class (of prompts or of single tokens; Mamba-2's have none here), the most common
/// first.
std::vector<std::string> linear_variants(const KernelClass& cls);

struct LinearSizes {
  int heads = 1, key_heads = 1, key_dim = 64, value_dim = 64;
};

/// The tensors of LinearInputs on the device. Keys have about unit norm, as the delta rule needs and models
/// ensure; decays are those of a trained model's range.
class LinearProblem {
 public:
  LinearProblem(const LinearSizes& sizes, const LinearRule& rule, std::vector<std::int64_t> lengths,
                std::uint64_t seed);
  const LinearInputs& inputs() const { return inputs_; }
  const std::vector<std::int64_t>& lengths() const { return lengths_; }
  /// Where decay (per token) and beta are, for who computes them on the device.
  float* decay() const { return decay_.data(); }
  float* beta() const { return beta_.data(); }
  /// Launches on fresh states and gives the worse of outputs and final states against the recurrence, token
  /// after token.
  Check check(const std::function<void()>& launch, double tolerance);

 private:
  struct Reference {
    std::vector<double> out, state;
  };
  Reference reference(std::vector<double> state) const;

  std::vector<std::int64_t> lengths_;
  std::uint64_t seed_;
  DeviceArray<bf16> q_, k_, v_, gate_, out_;
  DeviceArray<float> decay_, beta_, skip_, state_;
  LinearInputs inputs_;
};

/// `seqs` lengths that sum to `tokens`: equal, or with `ragged` shrinking from one to the next.
std::vector<std::int64_t> prompt_lengths(std::int64_t tokens, std::int64_t seqs, bool ragged);

/// The chunks of a problem's prompts and the workspaces of linear_attention for them.
class ChunkedProblem {
 public:
  ChunkedProblem(const LinearProblem& problem, int chunk);
  const LinearAttentionArgs& args() const { return args_; }

 private:
  DeviceArray<ChunkSpan> spans_;
  DeviceArray<std::int32_t> starts_;
  DeviceArray<bf16> states_, w_, u_;
  LinearAttentionArgs args_;
};

/// Bytes on the device of a problem, workspaces included (chunk 0: single tokens).
double linear_problem_bytes(double tokens, double seqs, const LinearSizes& sizes, int chunk);

}  // namespace orrery::kernels
