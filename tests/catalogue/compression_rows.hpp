#pragma once

#include <string>

#include "catalogue/method.hpp"
#include "cost/format_comparison.hpp"
#include "cost/roofline.hpp"
#include "ops/linear_compressed.hpp"

/// The number formats of a row of the group CMP: its block "precision", every linear layer in its block
/// "compression".
inline orrery::Precision precision_of(const std::string& row) {
  const orrery::Json blocks = orrery::find_method(row).blocks;
  orrery::Precision p;
  if (blocks.contains("precision")) p = block_of<orrery::Precision>(row, "precision");
  if (blocks.contains("compression")) {
    const auto format = block_of<orrery::LinearFormat>(row, "compression");
    format.check();
    p.set_linear(format);
  }
  return p;
}
inline orrery::LinearFormat format_of(const std::string& row) {
  return block_of<orrery::LinearFormat>(row, "compression");
}

/// Bits per weight of a matrix, all that is stored with it counted.
inline double bits_per_weight(const orrery::LinearFormat& f, double k = 4096, double n = 11008) {
  return 8 * orrery::stored_matrix_bytes(f, k, n) / (k * n);
}

/// The calls of y = x W in a format.
inline orrery::KernelCalls product(const orrery::LinearFormat& f, double m, double n, double k) {
  orrery::KernelCalls calls;
  orrery::push_product("proj", {m, n, k}, f, orrery::DType::bf16, calls);
  return calls;
}

/// Time of calls one after the other.
inline double seconds(const orrery::KernelCalls& calls, const orrery::KernelCostModel& cost) {
  double sum = 0;
  for (const auto& call : calls) sum += cost.price(call).time.value * call.repeat;
  return sum;
}

/// The datasheet's A100-SXM-80G: 312 Tflop/s in 16 bits, 2.039 TB/s.
inline orrery::DeviceProfile a100() {
  return orrery::load_device("a100-sxm-80g");
}
inline orrery::KernelCostModelPtr speed_of_light(const orrery::DeviceProfile& device) {
  return orrery::make_speed_of_light(device, orrery::topology_for(device));
}

/// A model in a row's formats against bf16, at the speed of light.
inline orrery::FormatComparison against_bf16(const std::string& model, const orrery::Precision& to,
                                             const orrery::DeviceProfile& device = a100()) {
  return {orrery::load_model(model), device, speed_of_light(device), {}, to};
}
