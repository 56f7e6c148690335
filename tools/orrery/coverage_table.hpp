#pragma once

#include <string>
#include <vector>

#include "report/render.hpp"
#include "scenario/coverage.hpp"

namespace orrery {

/// Coverage for a terminal: shares of time by class and provenance, then what each class needs beside what
/// its prices rest on.
std::string render(const Coverage& coverage, const RenderOptions& options);

/// The shapes most worth measuring, one per line.
std::string render_shapes(const Coverage& coverage, const std::vector<ShapeCell>& shapes,
                          const RenderOptions& options);

}  // namespace orrery
