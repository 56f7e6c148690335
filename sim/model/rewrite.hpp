#pragma once

#include <string>

#include "model/methods.hpp"
#include "model/model_spec.hpp"

namespace orrery {

/// `model` with a method of the catalogue in it; its name gains "+ID".
///
/// What a row's blocks do to a model: `attention` refines the layers that see every key (all attention layers
/// where none does) and `latent` takes the place of attention; `state` takes it too, beside a row's
/// `attention` both run in each layer, and with `layers` {"attention_period", "attention_offset"} some layers
/// stay attention; `moe` makes experts of dense feed-forwards, or refines experts; `dense` resizes
/// feed-forwards; a list of `layers` gives depths in turn; `compression` and `precision` set the formats the
/// model is stored in; `encoder` stands before it. Heads, widths and biases that a row gives as plain numbers
/// are those of its paper's model, and the base keeps its own; expressions ("=heads / 4") say what becomes of
/// the base's.
///
/// Errors: ConfigError saying why the row does not apply to this model, and which rows do.
ModelSpec rewrite(ModelSpec model, const Method& row);

/// Why no model can be rewritten by the row (it describes hardware, a decoder, an engine, ...); "" when one
/// can.
std::string why_no_rewrite(const Method& row);

}  // namespace orrery
