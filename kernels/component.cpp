#include "component.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace orrery::kernels {

std::string describe(const Case& c) {
  std::string text(c.call.cls->name);
  text += ' ';
  text += name(c.call.dtype);
  if (c.call.weight_dtype != c.call.dtype) text += '/', text += name(c.call.weight_dtype);
  for (std::size_t i = 0; i < c.call.dims.size() && !c.call.cls->dims[i].empty(); ++i) {
    text += fmt::format(" {}={:g}", c.call.cls->dims[i], c.call.dims[i]);
  }
  for (const auto& [option, value] : c.with) text += fmt::format(" {}={}", option, value);
  return text + " [" + c.variant + "]";
}

Check compare(std::span<const double> out, std::span<const double> reference, double tolerance) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  if (out.size() != reference.size() || out.empty()) return {infinite, tolerance};
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!std::isfinite(out[i])) return {infinite, tolerance};
    difference += (out[i] - reference[i]) * (out[i] - reference[i]);
    size += reference[i] * reference[i];
  }
  if (size == 0) return {difference == 0 ? 0 : infinite, tolerance};
  return {std::sqrt(difference / size), tolerance};
}

}  // namespace orrery::kernels
