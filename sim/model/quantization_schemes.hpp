#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// A weight format with scales per `group` neighbours along k (0: one for a column), with zero points or not.
/// The same values as its usual ones are left unsaid, so that equal formats compare equal.
LinearFormat grouped_format(DType weight, DType compute, std::int64_t group, bool zero_points);

/// A scheme of compressed-tensors or ModelOpt, {num_bits, type, group_size, strategy, symmetric, ...}: the
/// stored format. `compute` is left as it is. Errors: ConfigError naming the field.
LinearFormat scheme_format(JsonView view);

/// One of compressed-tensors' and ModelOpt's config_groups: weights' scheme, and inputs' if those are
/// quantised too; else `activation` computes.
LinearFormat group_format(JsonView& group, DType activation);

/// ModelOpt's algorithms by name (nvidia-modelopt, hf_quant_config.json), with the group size beside it if
/// any. Errors: ConfigError naming `key` and what is supported.
LinearFormat algorithm_format(JsonView& view, const char* key, DType activation);

/// Methods that describe the whole checkpoint: fp8 by blocks, channels or tensors; AWQ and GPTQ;
/// bitsandbytes. Errors: ConfigError naming the field.
LinearFormat fp8_format(JsonView& view);
LinearFormat packed_format(JsonView& view, const std::string& method, DType activation);
LinearFormat bitsandbytes_format(JsonView& view, DType activation);

/// The format of the KV cache a checkpoint asks for: the name of an algorithm, or a scheme.
void read_kv_scheme(JsonView& view, const char* key, Precision& precision, std::vector<std::string>& notes);

/// Appends what is not there yet.
void add_note(std::vector<std::string>& notes, std::string note);

}  // namespace orrery
