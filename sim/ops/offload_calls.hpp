#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// Between a host's memory and its drives, for what memory cannot hold (FlexGen, Sheng et al., 2023, section
// 4.3). Lane copy. dims: bytes, streams.

extern const KernelClass kDiskRead;
extern const KernelClass kDiskWrite;

}  // namespace orrery
