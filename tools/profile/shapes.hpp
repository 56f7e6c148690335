#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tables.hpp"

namespace orrery::profile {

/// Finds the cases that measure given shapes: by their row where a sweep has it, else by asking the
/// component.
class CaseFinder {
 public:
  CaseFinder(std::vector<std::string> components, const kernels::DeviceInfo& device);

  /// The case a row was measured with; nullopt when no component makes it any more.
  std::optional<Job> of_row(const KernelClass& cls, const TableRow& row) const;
  /// Every component's cases for a shape, whatever the variant.
  std::vector<Job> of_shape(const KernelClass& cls, const TableRow& shape) const;
  /// The case of the same component and variant, and where there are several the same options, at other
  /// dimensions.
  std::optional<Job> at(const KernelClass& cls, const TableRow& like, const KernelClass::Dims& dims) const;

 private:
  std::vector<Job> ask(const std::string& component, const KernelClass& cls, const TableRow& shape) const;
  std::vector<std::string> components_;
  kernels::DeviceInfo device_;
  std::unordered_map<std::string, Job> swept_;  ///< class + row key
};

/// Why a case does not run on this device; nullopt = it does.
std::optional<std::string> unsupported(const Job& job, const kernels::DeviceInfo& device);

}  // namespace orrery::profile
