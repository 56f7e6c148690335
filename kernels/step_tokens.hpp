#pragma once

#include <cstdint>

#include "runtime/runtime.hpp"

namespace orrery::kernels {

// The tokens of running sequences stay on the device between steps: what one step samples is what the next
// one embeds, and the host need not have read it by then.

/// out[i] = table[slots[i]], i < n; all on the device.
void gather_tokens(std::int32_t* out, const std::int32_t* table, const std::int32_t* slots, std::int64_t n,
                   StreamRef stream);
/// table[slots[i]] = tokens[i], i < n. Of equal slots one of the tokens stays.
void scatter_tokens(std::int32_t* table, const std::int32_t* tokens, const std::int32_t* slots,
                    std::int64_t n, StreamRef stream);

}  // namespace orrery::kernels
