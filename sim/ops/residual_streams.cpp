#include "ops/residual_streams.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/registry.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
Work mix_work(const KernelClass::Dims& dims, DType, DType) {
  Work w;
  w.hbm_read_bytes = w.hbm_write_bytes = dims[0] * dims[1] / 2;
  return w;
}
constexpr double kCoefficient = bytes_per_element(DType::fp32);
constexpr double kScales = 3;  ///< of what is read, written and mixed by
}  // namespace

constexpr KernelClass kResidualMix{"residual_mix",
                                   KernelClass::Scaling::tokens,
                                   {"tokens", "bytes_per_token"},
                                   "residual streams mixed by token, before a block or after it",
                                   mix_work,
                                   &kElementwise};

void ResidualParams::check() const {
  if (streams < 1) throw ConfigError(fmt::format("residual: streams is {}", streams), "1 (plain) or more");
  if (earlier < 0) throw ConfigError(fmt::format("residual: earlier is {:g}", earlier), "0 (none) or more");
  if (streams > 1 && earlier > 0) {
    throw ConfigError("residual: expected streams or earlier outputs, found both");
  }
}

ResidualRead::ResidualRead(const ResidualParams& params, std::int64_t hidden)
    : streams_(static_cast<double>(params.streams)),
      earlier_(params.earlier),
      hidden_(static_cast<double>(hidden)) {
  params.check();
}

double ResidualRead::parameters() const {
  if (streams_ <= 1) return 2 * hidden_;  // the norm's weights and the query of the scores
  return coefficients() * (streams_ * hidden_ + 1) + kScales;
}

double ResidualRead::weight_bytes(const LoweringContext& ctx) const {
  return parameters() * (streams_ > 1 ? kCoefficient : bytes_per_element(ctx.precision.activation));
}

void ResidualRead::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double element = bytes_per_element(ctx.precision.activation);
  RowTraffic traffic;
  traffic.write = hidden_ * element;
  traffic.weight_bytes = weight_bytes(ctx);
  if (streams_ > 1) {
    const double all = streams_ * hidden_;
    traffic.read = all * element;
    traffic.write += coefficients() * kCoefficient;
    traffic.flops = 2 * all * coefficients() + 4 * all;  // the map; the norm's sum of squares, the mix
  } else {
    const double rows = earlier_ + 1;
    traffic.read = rows * hidden_ * element;
    traffic.flops = rows * hidden_ * (4 + 2 + 2);  // norms, scores, the sum
  }
  push_elementwise(kResidualMix, "residual_read", batch, ctx, traffic, out);
}

void ResidualWrite::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (streams_ <= 1) return;
  const double element = bytes_per_element(ctx.precision.activation);
  RowTraffic traffic;
  traffic.read = (streams_ + 1) * hidden_ * element + streams_ * (streams_ + 1) * kCoefficient;
  traffic.write = streams_ * hidden_ * element;
  traffic.flops = 2 * (streams_ + 1) * streams_ * hidden_;
  push_elementwise(kResidualMix, "residual_write", batch, ctx, traffic, out);
}

const Registration<KernelClasses> residual_mix_class{"residual_mix", std::string(kResidualMix.help),
                                                     &kResidualMix};

}  // namespace orrery
