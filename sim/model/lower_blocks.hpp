#pragma once

#include <span>
#include <utility>
#include <vector>

#include "model/blocks.hpp"
#include "ops/kv_group.hpp"

namespace orrery {

/// A mixer after its norm, up to and with its all-reduce, in the order an engine runs it. `caps` are the
/// model's (ModelSpec::caps()).
ScaledOperators mixer_operators(const Mixer& mixer, std::int64_t hidden, std::span<const KeyCap> caps);
/// A feed-forward after its norm, up to and with its all-reduce or all-to-all; empty when there is none.
ScaledOperators ffn_operators(const Ffn& ffn, std::int64_t hidden);

/// The contexts a mixer's decode reads; empty for states.
std::vector<KeyTerm> decode_terms(const Mixer& mixer);

/// What a mixer keeps of a sequence of at most `longest` tokens on one rank; nothing when it reads another
/// layer's keys and values. States whose number changes with the length (log-linear attention) are those of
/// the length that has most.
std::vector<KvGroup> kept_by(const Mixer& mixer, std::int64_t hidden, Tokens longest,
                             const LoweringContext& ctx);

/// Errors: ConfigError when tensor-parallel ranks cannot divide the block.
bool divides(const Mixer& mixer, const Shard& shard);
bool divides(const Ffn& ffn, const Shard& shard);

/// Tensor-parallel ranks that keep the same keys of a mixer; 0 when it keeps none.
int cache_copies(const Mixer& mixer, int tp);
/// Whether keys are chosen by their content, for which all of them have to be seen.
bool chooses_keys(const Mixer& mixer);

}  // namespace orrery
