#pragma once

#include "cost/step_encoder.hpp"
#include "cost/step_pass.hpp"
#include "cost/step_pricer.hpp"

namespace orrery {

/// Adds the calls of one pass to an explanation, as many times as it runs, and the time of its launches;
/// returns its device time.
Seconds explain_pass(const StepPass& pass, const BatchShape& batch, StepExplanation& out,
                     std::int64_t& launches);
/// Adds the calls of the encoder; returns its device time.
Seconds explain_encoder(const EncoderTable& encoder, const StepKernels& kernels, std::int64_t images,
                        StepExplanation& out);

}  // namespace orrery
