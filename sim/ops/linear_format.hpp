#pragma once

#include <cstdint>
#include <optional>

#include "ops/dtype.hpp"

namespace orrery {

/// The scales of a quantised matrix W[k,n]: blocks of `rows` x `columns` of its elements share one.
struct WeightScales {
  std::int64_t rows = 0;     ///< neighbours along k; 0 = the whole column
  std::int64_t columns = 1;  ///< columns (128 in blocks of 128 x 128)
  double bits = 16;          ///< of one scale, with its share of a second level where scales are quantised
  bool zero_points = false;  ///< a zero point of an element's width beside each: asymmetric quantisation

  bool operator==(const WeightScales&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("rows", p.rows), v("columns", p.columns), v("bits", p.bits), v("zero_points", p.zero_points);
  }
};

/// Weights that are zero. Only 2:4 of them save arithmetic: matrix units skip nothing else.
struct Sparsity {
  double zeros = 0;      ///< share of zeros, anywhere in the matrix (unstructured pruning)
  bool bitmap = false;   ///< stored as the others and a bit for each place; else with its zeros
  int keep = 0, of = 0;  ///< `keep` of every `of` neighbours along k are stored, each with its index (N:M)

  bool operator==(const Sparsity&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("zeros", p.zeros), v("bitmap", p.bitmap), v("keep", p.keep), v("of", p.of);
  }
};

/// How the matrices of a linear layer are stored and multiplied: the catalogue's block Compression. Default
/// values are the identity: a dense matrix in 16 bits.
struct LinearFormat {
  DType weight = DType::bf16;   ///< elements as stored
  DType compute = DType::bf16;  ///< arithmetic (fp8 for W8A8, bf16 for W4A16)
  double bits = 0;              ///< of an element where they are fewer than `weight` has (3-bit OWQ); 0 = its
  std::optional<WeightScales> scales;  ///< others than the usual ones of `weight`
  /// Share of W's rows (input features) kept in 16 bits and multiplied apart (Dettmers et al., LLM.int8(),
  /// 2022, section 3.2; Lee et al., OWQ, 2023).
  double outliers = 0;
  Sparsity sparsity;
  std::int64_t rank = 0;  ///< W = A[k,rank] B[rank,n], two products (SVD); 0, or W's full rank: W itself
  std::int64_t adapter_rank = 0;  ///< + (x A) B in 16 bits beside it (Hu et al., LoRA, 2021); 0 = none

  bool operator==(const LinearFormat&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("weight", p.weight), v("compute", p.compute), v("bits", p.bits), v("scales", p.scales);
    v("outliers", p.outliers), v("sparsity", p.sparsity), v("rank", p.rank);
    v("adapter_rank", p.adapter_rank);
  }
  /// Whether W[k,n] is stored as two factors.
  bool factored(double k, double n) const;
  /// Errors: ConfigError naming the field that is out of range or contradicts another.
  void check() const;
};

/// The scales that a number format comes with: int4 16 bits per 128 weights of a column (AWQ, GPTQ), fp4 8
/// bits per 16 (NVFP4), fp8 and int8 an fp32 scale per output channel; none for 16 bits and more.
std::optional<WeightScales> usual_scales(DType format);

/// The scales of MXFP4 (OCP Microscaling Formats, v1.0, 2023: an 8-bit exponent per 32), of blocks of 128 x
/// 128 with an fp32 scale (DeepSeek-V3, 2024, section 3.3), and of NF4 with its scales quantised again
/// (Dettmers et al., QLoRA, 2023, section 3: 8 bits per 64, and 32 per 256 of those).
WeightScales mx_scales();
WeightScales block128_scales();
WeightScales double_quantised_scales();

/// Rows of W[k,n] kept in 16 bits.
double outlier_rows(const LinearFormat& format, double k);

/// Bytes of a matrix W[k,n] as stored: elements, scales, indices, outliers, factors, and adapters beside it.
/// The one place where they are counted.
double stored_matrix_bytes(const LinearFormat& format, double k, double n);
/// The same of a plain matrix in a number format with its usual scales.
double stored_matrix_bytes(DType format, double k, double n);

}  // namespace orrery
