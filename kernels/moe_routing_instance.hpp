#pragma once

#include <memory>

#include "component.hpp"

namespace orrery::kernels {

/// A case of kMoeRouting or kMoeExpertChoice. Options of the first, as ChooseExpertsArgs and SortByExpertArgs
/// have them: sigmoid, bias, groups, top_groups, renormalise, scale_percent, alignment.
std::unique_ptr<Instance> make_moe_routing(const Case& c);

}  // namespace orrery::kernels
