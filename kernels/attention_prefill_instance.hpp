#pragma once

#include <memory>

#include "attention_prefill_cases.hpp"

namespace orrery::kernels {

/// A batch of that shape on the device: random Q, K and V, the blocks of the cache scattered at random, the
/// output poisoned; check() compares with the softmax over all keys of each query in double precision.
std::unique_ptr<Instance> prefill_instance(const PrefillShape& shape, std::uint64_t seed);

/// Bytes it allocates.
double prefill_instance_bytes(const PrefillShape& shape);

}  // namespace orrery::kernels
