#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cost/surface.hpp"
#include "ops/kernel_call.hpp"

namespace orrery {

/// The range of one quantity over the rows a fit was made from.
struct FitRange {
  double low = 0, high = 0;
  bool holds(double x) const { return x >= low && x <= high; }
};

/// launch + (sum over the kinds of work of (amount / rate)^4)^(1/4): the roofline (Williams et al., 2009)
/// with a soft maximum, for kernel classes without a form of their own. A rate of 0: the class does no such
/// work.
struct GenericForm {
  enum Coefficient : std::size_t { launch, tensor, vector, memory, host, link, kCount };
  static constexpr std::array<const char*, kCount> kNames{"launch_s",           "tensor_flops_per_s",
                                                          "vector_flops_per_s", "memory_bytes_per_s",
                                                          "host_bytes_per_s",   "link_bytes_per_s"};
  std::array<double, kCount> c{};

  /// The amounts of work that the rates divide, in the order of the coefficients; the launch's is 0.
  static std::array<double, kCount> amounts(const Work& work);
  double seconds(const Work& work) const;
};

/// One kernel class in one pair of formats: form x exp(surface over up to four of its dimensions).
struct GenericFit {
  std::string kernel_class;
  DType dtype = DType::bf16, weight_dtype = DType::bf16;
  GenericForm form;
  Surface surface;               ///< its axes are named as dimensions of the class; may be empty
  std::vector<FitRange> ranges;  ///< of each dimension, in the order of the class
  double shortest_s = 0;         ///< the shortest time the rows could tell; shorter prices are extrapolated
  bool own = false;              ///< fitted on our own rows
  std::string scaled_from;       ///< the device whose rows these are, rates scaled to this one; "" = this one

  /// By how much slower than this fit's the arithmetic is where weights of fewer bits are widened on the way,
  /// and where that is from; 1 = as fast.
  double weight_only_tensor_factor = 1;
  std::string weight_only_source;

  /// Where the surface's axes stand among the dimensions of the class; to be called once the rest is set.
  /// Errors: ConfigError when an axis or the number of ranges does not fit the class.
  void bind(const KernelClass& cls);
  const KernelClass* cls() const { return cls_; }
  /// Made from rows of this call's class and formats.
  bool made_for(const KernelCall& call) const {
    return call.cls == cls_ && call.dtype == dtype && call.weight_dtype == weight_dtype;
  }
  /// Seconds of a call of the class; with another format than its own, `tensor_ratio` is the ratio of the
  /// formats' peaks.
  double seconds(const KernelCall& call, double tensor_ratio = 1) const;
  bool holds(const KernelClass::Dims& dims) const;
  /// The range of one dimension; empty where the class has no such one.
  FitRange range_of(std::string_view dim) const;

 private:
  const KernelClass* cls_ = nullptr;
  std::vector<std::size_t> axes_;
};

/// A dimension as a coordinate: its log2, 0 lying one octave below 1.
double log2_dim(double x);

}  // namespace orrery
