#include "ops/linear.hpp"

#include <utility>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear_compressed.hpp"

namespace orrery {

namespace {
Work gemm_work(const KernelClass::Dims& dims, DType dtype, DType weight_dtype) {
  const double m = dims[0], n = dims[1], k = dims[2];
  Work w;
  w.tensor_flops = 2 * m * n * k;
  w.tensor_dtype = dtype;
  w.weight_bytes = stored_matrix_bytes(weight_dtype, k, n);
  w.hbm_read_bytes = m * k * bytes_per_element(dtype) + w.weight_bytes;
  w.hbm_write_bytes = m * n * bytes_per_element(activation_format(dtype));
  return w;
}
}  // namespace

constexpr KernelClass kGemm{
    "gemm", KernelClass::Scaling::tokens, {"m", "n", "k"}, "y[m,n] = x[m,k] W[k,n]", gemm_work};

namespace {
std::int64_t total(const std::vector<UnitGroup>& groups, int ranks) {
  std::int64_t sum = 0;
  for (const auto& g : groups) sum += g.local_width(ranks);
  return sum;
}
}  // namespace

Linear::Linear(std::string_view role, std::vector<UnitGroup> inputs, std::vector<UnitGroup> outputs,
               TensorSplit split, bool bias, Module module)
    : role_(role),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      split_(split),
      bias_(bias),
      module_(module) {}

std::int64_t Linear::k(int ranks) const {
  return total(inputs_, split_ == TensorSplit::rows ? ranks : 1);
}
std::int64_t Linear::n(int ranks) const {
  return total(outputs_, split_ == TensorSplit::columns ? ranks : 1);
}

void Linear::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto tokens = batch.dense_tokens();
  if (tokens == 0) return;
  const auto m = static_cast<double>(tokens);
  const auto cols = static_cast<double>(n(ctx.shard.tp)), rows = static_cast<double>(k(ctx.shard.tp));
  const std::size_t first = out.size();
  push_product(role_, {m, cols, rows}, ctx.precision.linear(module_), ctx.precision.activation, out);
  const double bias_bytes = bias_ ? cols * bytes_per_element(ctx.precision.activation) : 0;
  out[first].work.weight_bytes += bias_bytes;
  out[first].work.hbm_read_bytes += bias_bytes;
}

double Linear::parameters() const {
  const auto cols = static_cast<double>(n(1));
  return static_cast<double>(k(1)) * cols + (bias_ ? cols : 0);
}

double Linear::weight_bytes(const LoweringContext& ctx) const {
  const auto rows = static_cast<double>(k(ctx.shard.tp)), cols = static_cast<double>(n(ctx.shard.tp));
  return stored_matrix_bytes(ctx.precision.linear(module_), rows, cols) +
         (bias_ ? cols * bytes_per_element(ctx.precision.activation) : 0);
}

const Registration<KernelClasses> gemm_class{"gemm", "dense matrix product of the step's tokens", &kGemm};

}  // namespace orrery
