#pragma once

#include <memory>

#include "component.hpp"

namespace orrery::kernels {

/// Inputs and reference of the four classes of selective_scan.cu.
std::unique_ptr<Instance> make_selective_scan_instance(const Case& c);

}  // namespace orrery::kernels
