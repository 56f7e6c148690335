#include "model/pipeline_stages.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

std::vector<int> layers_by_stage(int layers, int stages) {
  if (stages < 1 || stages > layers) {
    throw ConfigError(fmt::format("{} layers cannot be divided among {} pipeline stages", layers, stages),
                      fmt::format("--pipeline-parallel-size 1 to {}", layers));
  }
  std::vector<int> counts(static_cast<std::size_t>(stages), layers / stages);
  for (int i = 0; i < layers % stages; ++i) ++counts[static_cast<std::size_t>(stages - 2 - i)];
  return counts;
}

std::vector<ModelSpec> pipeline_stages(const ModelSpec& model, int stages) {
  if (stages == 1) return {model};
  return stages_of(model, layers_by_stage(model.layers(), stages));
}

std::vector<ModelSpec> stages_of(const ModelSpec& model, const std::vector<int>& counts) {
  std::vector<ModelSpec> out;
  auto layer = model.pattern.begin();
  for (const int count : counts) {
    ModelSpec& stage = out.emplace_back(model);
    stage.pattern.assign(layer, layer + count);
    layer += count;
    for (LayerKind& kind : stage.kinds) kind.count = 0;
    for (const int kind : stage.pattern) ++stage.kinds[static_cast<std::size_t>(kind)].count;
    stage.has_embedding = out.size() == 1;
    stage.has_head = out.size() == counts.size();
    if (!stage.has_embedding) stage.other_parameters = 0, stage.encoder.reset();
    if (!stage.has_head) stage.final_norm = 0;
  }
  return out;
}

ModelSpec without_first(const ModelSpec& model, int layers) {
  return layers == 0 ? model : stages_of(model, {layers, model.layers() - layers}).back();
}

}  // namespace orrery
