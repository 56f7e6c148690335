#pragma once

#include <string>
#include <vector>

#include "model/model_spec.hpp"

namespace orrery {

/// Sizes of one kind of layer for people: "32 heads of 128 over 8 KV heads, full; gated feed-forward of
/// 14336".
std::string layer_text(const LayerKind& kind);

/// "27 layers of 1152, 16 heads, patches of 16 pixels merged 2 x 2".
std::string encoder_text(const EncoderParams& encoder);

/// A short word for each of a model's kinds, distinct: a letter for each mixer (A full attention, W windowed
/// or in chunks, S of chosen keys, L latent, M state space, D delta rule, G linear attention, R recurrence, C
/// convolution; F and E a feed-forward alone), '*' for experts, a number where kinds share the rest.
std::vector<std::string> layer_words(const ModelSpec& model);

/// The layers in order, what repeats written once: {"4 x  M M* M M* A M* M M*"}.
std::vector<std::string> pattern_rows(const ModelSpec& model);

}  // namespace orrery
