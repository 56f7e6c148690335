#pragma once

#include <string>

#include "report/render.hpp"
#include "scenario/plan.hpp"

namespace orrery {

/// The verdict, the plans in their order, and what to do next.
std::string render_plan(const PlanAnswer& answer, std::size_t rows, const RenderOptions& options);

}  // namespace orrery
