#pragma once

#include <optional>

#include "model/block_reader.hpp"
#include "model/encoder.hpp"
#include "model/facts.hpp"
#include "model/model_spec.hpp"

namespace orrery {

/// Fills a model's kinds and pattern from its family's stack of blocks, layer by layer; the family's checks
/// must hold for each layer. Errors: ConfigError naming the config's field, or the family's block, that is
/// wrong.
void read_layers(Facts& facts, ModelSpec& model);

/// Windows and other patterns that cover every context of the model are none; a note says so.
void drop_idle_patterns(ModelSpec& model);

/// The encoder of another modality, if the family has one and the config gives its sizes. Errors: as above.
std::optional<EncoderParams> read_encoder(const Facts& facts);

/// One object of mixers or feed-forwards as the catalogue of methods and family maps write them:
/// {"attention":
/// {...}}, {"latent": ...}, {"state": ...}; {"dense": ...}, {"moe": ...}.
Mixer read_mixer(const Json& entry, const Evaluate& evaluate, const Blame& blame, const std::string& where);
Ffn read_ffn(const Json& entry, const Evaluate& evaluate, const Blame& blame, const std::string& where);

}  // namespace orrery
