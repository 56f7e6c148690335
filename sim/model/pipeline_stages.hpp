#pragma once

#include <vector>

#include "model/model_spec.hpp"

namespace orrery {

/// How many of `layers` layers each of `stages` pipeline stages holds: equally many, and what remains one
/// each to the stages before the last, from the last but one backwards, since the last one has the LM head
/// (vLLM, vllm/distributed/utils.py: get_pp_indices). Errors: ConfigError when there are fewer layers.
std::vector<int> layers_by_stage(int layers, int stages);

/// A model cut into pipeline stages, each of them a model by itself: the same kinds in the same order (so
/// that their caps are the model's), with the number of layers the stage has of each, none of some. The first
/// stage holds the embedding, parameters beside the layers and an encoder; the last one final norm and LM
/// head, and with tied embeddings a copy of their matrix. Layers that share weights share them within a stage
/// only; a layer that reads another one's keys finds them in its own stage. One stage is the model itself.
/// Errors: as layers_by_stage().
std::vector<ModelSpec> pipeline_stages(const ModelSpec& model, int stages);
/// The same with so many layers in each, which add up to the model's.
std::vector<ModelSpec> stages_of(const ModelSpec& model, const std::vector<int>& counts);
/// What remains of a model whose first `layers` layers, with the embedding, are elsewhere; 0: all of it.
ModelSpec without_first(const ModelSpec& model, int layers);

}  // namespace orrery
