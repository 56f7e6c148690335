#pragma once

#include <string>

namespace orrery {

/// docs/compression.md: how much faster steps are with 4-bit weights, by batch, context, prompt and model, as
/// tables and bars, computed at the speed of light of a datasheet (cost/format_comparison.hpp).
std::string format_page();

}  // namespace orrery
