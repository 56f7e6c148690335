#pragma once

#include <memory>
#include <string>

#include "base/json.hpp"
#include "model/model_spec.hpp"

namespace orrery {

/// Reads a HuggingFace config.json through its family map (models/families). The text model may be nested
/// under text_config, llm_config or language_config. `quantisation` is the hf_quant_config.json beside it, if
/// any. Errors: ConfigError naming the architecture, or the field that is missing, out of range, or not
/// understood. Nothing that changes the cost of a step is guessed.
ModelSpec import_config(const std::shared_ptr<const JsonDocument>& config, const std::string& name,
                        const std::shared_ptr<const JsonDocument>& quantisation = nullptr);

/// Number formats from a config's `quantization_config` (`quantised` starts from the unquantised formats):
/// one for all linear layers, and for modules that are left out or have another. `layers`: of the model, to
/// tell a module left out from a few layers of it; 0 = unknown. Methods: fp8, fbgemm_fp8, awq, gptq, mxfp4,
/// bitsandbytes, compressed-tensors, modelopt. Errors: ConfigError naming what is not understood.
void read_quantization_config(JsonView view, Precision& quantised, std::vector<std::string>& notes,
                              int layers = 0);

/// The same from ModelOpt's hf_quant_config.json, after it.
void read_hf_quant_config(JsonView view, Precision& quantised, std::vector<std::string>& notes,
                          int layers = 0);

/// A config's own word about its routed experts (DeepSeek-V4's `expert_dtype`), after both.
void read_expert_format(JsonView& config, Precision& quantised, std::vector<std::string>& notes);

}  // namespace orrery
