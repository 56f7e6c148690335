#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ops/dtype.hpp"
#include "ops/work.hpp"

namespace orrery {

/// A class of kernels that share their dimensions and one cost form, such as "gemm" or "attention_decode".
/// Open: each sim/ops/*.cpp defines its own, with the meaning of its dimensions; cost models that do not know
/// a class fall back to the roofline of its Work. Compared by address.
struct KernelClass {
  /// What of a batch moves the cost: the compiled price keeps one table per kind.
  enum class Scaling : std::uint8_t {
    tokens,   ///< the number of (padded) tokens in the step
    logits,   ///< the number of rows whose logits are computed
    decode,   ///< the decode set: its size and the KV tokens it reads
    prefill,  ///< the prefill chunks
  };
  using Dims = std::array<double, 8>;
  std::string_view name;
  Scaling scaling;
  std::array<std::string_view, 8> dims;  ///< names of the dimensions, in order; "" = unused
  std::string_view help;
  /// What one launch at these dimensions does, in the formats of the arithmetic and of what is stored: the
  /// one place where the class counts it. Operators call it (and correct what their context alone knows, such
  /// as a bias), calibration rebuilds a measured row's Work with it. nullptr: only operators know.
  Work (*work)(const Dims& dims, DType dtype, DType weight_dtype) = nullptr;
  /// A class of the same dimensions whose prices hold for this one while it has none of its own; their errors
  /// are then one and the same.
  const KernelClass* like = nullptr;
  int launches = 1;  ///< kernels that one call stands for
};

/// The class whose error a class shares: the one it is priced like, or itself.
inline const KernelClass& error_class(const KernelClass& cls) {
  return cls.like == nullptr ? cls : *cls.like;
}

/// Which engine of the device a call occupies; calls of different lanes may overlap between fork and join
/// marks.
enum class Lane : std::uint8_t { compute, comm, copy, cpu };

/// Structure of a step as a series-parallel graph: a fork opens parallel branches, `branch` starts the next
/// one, a join waits for all. Calls in between are serial within their branch. Plain sequences carry `none`
/// only. A mark takes effect before its call; a call without a class is a mark alone.
enum class Mark : std::uint8_t { none, fork, branch, join };

/// One kernel launch as an engine would issue it: what kernels/ measures, calibration/ fits and cost/ prices.
struct KernelCall {
  const KernelClass* cls = nullptr;
  KernelClass::Dims dims{};          ///< meanings in cls->dims; per rank, after sharding
  DType dtype = DType::bf16;         ///< format of the arithmetic
  DType weight_dtype = DType::bf16;  ///< stored parameters (gemm) or KV cache (attention)
  Work work;
  Lane lane = Lane::compute;
  Mark mark = Mark::none;
  bool layer_end = false;  ///< a layer boundary follows: the step can be cut here
  double repeat = 1;       ///< identical calls in sequence (the same call in each of n equal layers)
  std::string_view role;   ///< what it is in the model: "qkv_proj", "attention", ... (static storage)
};

using KernelCalls = std::vector<KernelCall>;

/// The format of activations around arithmetic in `dtype`: its own when it has 16 bits or more, else bf16.
constexpr DType activation_format(DType dtype) {
  return bytes_per_element(dtype) >= 2 ? dtype : DType::bf16;
}

/// A call of `cls` at `dims`, its Work counted by the class (none when the class does not count it).
inline KernelCall make_call(const KernelClass& cls, const KernelClass::Dims& dims, DType dtype,
                            DType weight_dtype) {
  KernelCall call;
  call.cls = &cls;
  call.dims = dims;
  call.dtype = dtype;
  call.weight_dtype = weight_dtype;
  if (cls.work != nullptr) call.work = cls.work(dims, dtype, weight_dtype);
  return call;
}

}  // namespace orrery
