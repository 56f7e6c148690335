#pragma once

#include "model/block_reader.hpp"
#include "model/facts.hpp"
#include "model/model_spec.hpp"

namespace orrery {

/// Fills a model's kinds and pattern from its family's stack of blocks, layer by layer. Errors: ConfigError
/// naming the config's field, or the family's block, that is wrong.
void read_layers(Facts& facts, ModelSpec& model);

/// One object of mixers or feed-forwards as the catalogue of methods and family maps write them:
/// {"attention":
/// {...}}, {"latent": ...}, {"state": ...}; {"dense": ...}, {"moe": ...}.
Mixer read_mixer(const Json& entry, const Evaluate& evaluate, const Blame& blame, const std::string& where);
Ffn read_ffn(const Json& entry, const Evaluate& evaluate, const Blame& blame, const std::string& where);

}  // namespace orrery
