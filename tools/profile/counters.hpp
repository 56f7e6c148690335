#pragma once

#include <memory>
#include <optional>
#include <string>

#include "component.hpp"

namespace orrery::profile {

/// Hardware counters of one launch. Optional everywhere: many hosts refuse them to ordinary users.
class Counters {
 public:
  virtual ~Counters() = default;
  /// Bytes read from and written to device memory by one launch with a cold L2; nullopt = not permitted.
  virtual std::optional<double> dram_bytes(kernels::Instance&, kernels::StreamRef) { return std::nullopt; }
  /// Why there are none; "" while there are.
  virtual std::string refusal() const { return refusal_; }

  Counters() = default;
  explicit Counters(std::string refusal) : refusal_(std::move(refusal)) {}

 private:
  std::string refusal_ = "this build has no hardware counters";
};

}  // namespace orrery::profile
