#pragma once

#include "calibration/kernel_rows.hpp"
#include "cost/kernel_forms.hpp"
#include "ops/kernel_call.hpp"

namespace orrery::calibrate {

// Measured rows as the calls a simulated engine would issue, lowered by sim/ops, so that fits see exactly the
// numbers that prices will be asked for.

KernelCall kernel_call(const GemmRow& row);
KernelCall prefill_call(const AttentionRow& row);
KernelCall decode_call(const AttentionRow& row);
KernelCall kernel_call(const CollectiveRow& row);
KernelCall kernel_call(const RowKernelRow& row);
KernelCall kernel_call(const GenericRow& row);

PrefillShape prefill_shape(const AttentionRow& row);
DecodeShape decode_shape(const AttentionRow& row);

}  // namespace orrery::calibrate
