#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace orrery {

/// Where a kind of tensor lies: shares in host memory and on disk, the rest on the GPU.
struct TierShares {
  double host = 0, disk = 0;

  double away() const { return host + disk; }
  double gpu() const { return 1 - away(); }
  bool operator==(const TierShares&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("host", p.host), v("disk", p.disk);
  }
};

/// Neurons of dense feed-forwards that few tokens activate, left on the host and computed there, while the
/// GPU computes the others (PowerInfer, Song et al., 2024, sections 3 and 5). Activation functions that are
/// zero for most inputs make the rest of both skippable; a predictor says which.
struct NeuronSplit {
  double hot = 1;              ///< share of the neurons that the GPU keeps
  double activated = 1;        ///< share of all neurons that one token activates
  double hot_activations = 1;  ///< share of its activations that hot neurons have
  std::int64_t predictor = 0;  ///< width of each layer's predictor, hidden -> width -> neurons

  bool none() const { return hot == 1 && activated == 1; }
  /// Share of all neurons, of the hot and of the cold ones, that some of `tokens` independent tokens
  /// activate: 1 - (1 - a)^tokens of each kind.
  double hot_computed(double tokens) const { return computed(hot, activated * hot_activations, tokens); }
  double cold_computed(double tokens) const {
    return computed(1 - hot, activated * (1 - hot_activations), tokens);
  }
  bool operator==(const NeuronSplit&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("hot", p.hot), v("activated", p.activated), v("hot_activations", p.hot_activations);
    v("predictor", p.predictor);
  }

 private:
  /// Of `kept` of the neurons, `active` being the share of all that a token activates among them.
  static double computed(double kept, double active, double tokens) {
    return kept > 0 ? kept * (1 - std::pow(1 - std::min(1.0, active / kept), tokens)) : 0;
  }
};

/// What of a model lies outside device memory, and who computes there (block OffloadPolicy). The default
/// moves nothing and leaves every price as it is.
struct OffloadPolicy {
  TierShares weights;      ///< of the layers; loaded once a step, whatever its batch
  TierShares kv;           ///< of the KV cache
  TierShares activations;  ///< hidden states between layers (FlexGen)
  /// A layer's loads and stores run while others compute, so that a step lasts as long as its busiest lane;
  /// else all of it in turn.
  bool overlap = true;
  /// Decode attention over the keys outside the GPU is computed by the host's cores, where they lie: queries
  /// and outputs cross the link instead (FlexGen, section 4; FastDecode).
  bool host_attention = false;
  int host_nodes = 1;   ///< computers that share the host's part of the KV cache and its attention
  int host_layers = 0;  ///< the first layers, computed where their weights and keys are (llama.cpp)
  NeuronSplit neurons;

  /// Nothing is loaded or stored in a step.
  bool still() const { return weights.away() + kv.away() + activations.away() == 0; }
  bool none() const { return still() && host_layers == 0 && neurons.none(); }
  bool operator==(const OffloadPolicy&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("weights", p.weights), v("kv", p.kv), v("activations", p.activations), v("overlap", p.overlap);
    v("host_attention", p.host_attention), v("host_nodes", p.host_nodes), v("host_layers", p.host_layers);
    v("neurons", p.neurons);
  }
};

}  // namespace orrery
