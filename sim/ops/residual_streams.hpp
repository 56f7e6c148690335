#pragma once

#include <cstdint>

#include "ops/operator.hpp"

namespace orrery {

/// What stands in the place of x + f(x) around the mixers and the feed-forward of a layer. The default is
/// the plain sum, which norms count.
struct ResidualParams {
  /// Hyper-connections: so many streams, of which each block reads a learned mix and to which it is written
  /// back while they mix with each other, by coefficients of the token (Zhu et al., Hyper-Connections, 2024,
  /// section 2; on DeepSeek-V4's terms, manifold-constrained).
  std::int64_t streams = 1;
  /// Attention residuals: so many outputs of earlier blocks that each input is a softmax over, beside the
  /// stream itself (Kimi Team, Attention Residuals, 2026). A mean over equal layers: the work is linear in
  /// it.
  double earlier = 0;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("streams", p.streams), v("earlier", p.earlier);
  }
  bool operator==(const ResidualParams&) const = default;
  bool plain() const { return streams <= 1 && earlier == 0; }
  /// Errors: ConfigError naming the field for fewer than one stream, or both forms at once.
  void check() const;
};

/// Mixing of residual streams by token, before a block or after it. dims: tokens, bytes_per_token. `like`
/// elementwise: what it computes hides behind what it moves.
extern const KernelClass kResidualMix;

/// The input of a block from the streams, one kernel that reads them once. With n streams of width D: a map
/// from all n D numbers to n (n + 2) coefficients in fp32 (n to read by, n to write by, n x n to mix by), a
/// norm of its input, and the weighted sum. With earlier outputs: a norm and a score of each row, and the
/// sum.
class ResidualRead final : public Operator {
 public:
  ResidualRead(const ResidualParams& params, std::int64_t hidden);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;  ///< whole on every rank

 private:
  double coefficients() const { return streams_ * (streams_ + 2); }
  double streams_, earlier_, hidden_;
};

/// The block's output into n streams, and these mixed with each other: reads n D + D, writes n D, 2 (n + 1)
/// operations per number written. Nothing with one stream (the norm after it adds).
class ResidualWrite final : public Operator {
 public:
  ResidualWrite(const ResidualParams& params, std::int64_t hidden)
      : streams_(static_cast<double>(params.streams)), hidden_(static_cast<double>(hidden)) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  double streams_, hidden_;
};

}  // namespace orrery
