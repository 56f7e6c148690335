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
  std::vector<ModelSpec> out;
  auto layer = model.pattern.begin();
  for (const int count : layers_by_stage(model.layers(), stages)) {
    ModelSpec& stage = out.emplace_back(model);
    stage.pattern.assign(layer, layer + count);
    layer += count;
    for (LayerKind& kind : stage.kinds) kind.count = 0;
    for (const int kind : stage.pattern) ++stage.kinds[static_cast<std::size_t>(kind)].count;
    stage.has_embedding = out.size() == 1;
    stage.has_head = static_cast<int>(out.size()) == stages;
    if (!stage.has_embedding) stage.other_parameters = 0, stage.encoder.reset();
    if (!stage.has_head) stage.final_norm = 0;
  }
  return out;
}

}  // namespace orrery
