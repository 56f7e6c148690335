#include "ops/moe.hpp"

#include <cmath>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"

namespace orrery {

namespace {

using Dims = KernelClass::Dims;
constexpr auto kTokens = KernelClass::Scaling::tokens;

/// Per logit 5 operations of a softmax (as sampling) and one comparison per choice; per element of a row a
/// multiply and an add when it is combined. A token's row is read once and written top_k times, the experts'
/// rows are read and their sum written. `per_row` bytes of tables are written and read again.
Work routing_work(const Dims& dims, DType dtype, double per_row) {
  const double tokens = dims[0], experts = dims[1], rows = dims[0] * dims[2], hidden = dims[3];
  const double element = bytes_per_element(activation_format(dtype)), tables = rows * per_row;
  Work w;
  w.vector_flops = tokens * experts * (5 + dims[2]) + 2 * rows * hidden;
  w.hbm_read_bytes = (tokens * experts + (tokens + rows) * hidden) * element + tables;
  w.hbm_write_bytes = (rows + tokens) * hidden * element + tables;
  return w;
}
/// Tables: expert, weight and place of each choice, 4 bytes each.
Work token_choice_work(const Dims& dims, DType dtype, DType) {
  return routing_work(dims, dtype, 12);
}
/// Tables: token and weight of each row; and the scores of all tokens, which each expert compares, and the
/// row of each token and expert, 4 bytes each.
Work expert_choice_work(const Dims& dims, DType dtype, DType) {
  Work w = routing_work(dims, dtype, 8);
  const double matrix = 2 * 4 * dims[0] * dims[1];
  w.hbm_read_bytes += matrix, w.hbm_write_bytes += matrix;
  return w;
}

/// 2 rows n k, and the weights of the experts that get rows, each once.
Work grouped_gemm_work(const Dims& dims, DType dtype, DType weight_dtype) {
  const double rows = dims[0], n = dims[1], k = dims[2], active = dims[4];
  Work w;
  w.tensor_flops = 2 * rows * n * k;
  w.tensor_dtype = dtype;
  w.weight_bytes = active * stored_matrix_bytes(weight_dtype, k, n);
  w.hbm_read_bytes = rows * k * bytes_per_element(dtype) + w.weight_bytes;
  w.hbm_write_bytes = rows * n * bytes_per_element(activation_format(dtype));
  return w;
}

}  // namespace

constexpr KernelClass kMoeRouting{"moe_routing",
                                  kTokens,
                                  {"tokens", "experts", "top_k", "hidden"},
                                  "choice of experts by tokens, sort, permutation and weighted sum",
                                  token_choice_work,
                                  nullptr,
                                  4};
constexpr KernelClass kMoeExpertChoice{"moe_expert_choice",
                                       kTokens,
                                       kMoeRouting.dims,
                                       "choice of tokens by experts, permutation and weighted sum",
                                       expert_choice_work,
                                       nullptr,
                                       4};
constexpr KernelClass kGroupedGemm{"grouped_gemm",
                                   kTokens,
                                   {"rows", "n", "k", "experts", "active_experts"},
                                   "y_e[m_e,n] = x_e[m_e,k] W_e[k,n] over experts",
                                   grouped_gemm_work};

double expected_active_experts(double tokens, double experts, double top_k) {
  return experts * (1 - std::pow(1 - top_k / experts, tokens));
}

const Registration<KernelClasses> moe_routing_class{
    "moe_routing", "what a mixture of experts runs beside its matrix products, experts chosen by tokens",
    &kMoeRouting};
const Registration<KernelClasses> moe_expert_choice_class{
    "moe_expert_choice", "the same, tokens chosen by experts", &kMoeExpertChoice};
const Registration<KernelClasses> grouped_gemm_class{
    "grouped_gemm", "matrix products of the experts that get rows, in one launch", &kGroupedGemm};

}  // namespace orrery
