#pragma once

namespace orrery::bench {

/// Prints what single calls of the step pricer cost: first use of a table entry, and a hit.
void print_step_prices();

}  // namespace orrery::bench
