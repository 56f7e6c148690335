#include "cost/generic_fit.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace orrery {

std::array<double, GenericForm::kCount> GenericForm::amounts(const Work& w) {
  return {0, w.tensor_flops, w.vector_flops, w.hbm_bytes(), w.host_bytes, w.link_bytes};
}

double GenericForm::seconds(const Work& work) const {
  const auto amount = amounts(work);
  double fourth = 0;
  for (std::size_t i = tensor; i < kCount; ++i) {
    if (c[i] <= 0) continue;
    const double t = amount[i] / c[i];
    fourth += (t * t) * (t * t);
  }
  return c[launch] + std::sqrt(std::sqrt(fourth));
}

double log2_dim(double x) {
  return std::log2(std::max(x, 0.5));
}

void GenericFit::bind(const KernelClass& cls) {
  cls_ = &cls;
  axes_.clear();
  const auto used = static_cast<std::size_t>(std::find(cls.dims.begin(), cls.dims.end(), std::string_view()) -
                                             cls.dims.begin());
  if (ranges.size() != used) {
    throw ConfigError("the fit of '" + kernel_class + "' has ranges of " + std::to_string(ranges.size()) +
                          " dimensions, the class has " + std::to_string(used),
                      "fit it again: orrery calibrate fit");
  }
  for (const auto& axis : surface.axes()) {
    const auto at = std::find(cls.dims.begin(), cls.dims.end(), axis.name);
    if (at == cls.dims.end()) {
      throw ConfigError("kernel class '" + kernel_class + "' has no dimension '" + axis.name + "'",
                        "fit it again: orrery calibrate fit");
    }
    axes_.push_back(static_cast<std::size_t>(at - cls.dims.begin()));
  }
}

double GenericFit::seconds(const KernelCall& call, double tensor_ratio) const {
  GenericForm scaled = form;
  scaled.c[GenericForm::tensor] *= tensor_ratio;
  const double t = scaled.seconds(call.work);
  if (surface.empty()) return t;
  std::array<double, Surface::kMaxAxes> at{};
  for (std::size_t i = 0; i < axes_.size(); ++i) at[i] = log2_dim(call.dims[axes_[i]]);
  return t * std::exp(surface.at({at.data(), axes_.size()}));
}

FitRange GenericFit::range_of(std::string_view dim) const {
  const auto at = std::find(cls_->dims.begin(), cls_->dims.end(), dim);
  return at == cls_->dims.end() ? FitRange{} : ranges[static_cast<std::size_t>(at - cls_->dims.begin())];
}

bool GenericFit::holds(const KernelClass::Dims& dims) const {
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (!ranges[i].holds(dims[i])) return false;
  }
  return true;
}

}  // namespace orrery
