#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ops/operator.hpp"

namespace orrery {

/// What a name in a checkpoint's list of layers means ("model.layers.3.self_attn*", "re:.*shared_experts.*",
/// "lm_head"): modules of one layer, or of all. No module: a part that is not quantised anyway (embeddings,
/// norms, routers, convolutions, indexers), or that is not priced with the layers (vision towers, MTP
/// layers).
struct ModuleName {
  std::vector<Module> modules;
  std::optional<int> layer;
};

/// nullopt: not understood.
std::optional<ModuleName> understand_module_name(std::string_view pattern);

/// The modules that a list of names covers, and in how many layers.
class NamedModules {
 public:
  /// `layers`: of the model (0 = unknown). Names of layers behind its last, which only multi-token prediction
  /// uses, are passed over.
  explicit NamedModules(int layers = 0) : layers_(layers) {}
  void add(const ModuleName& name);

  /// Whether most layers of a module are named: more than half of those that any name is about, and a quarter
  /// of the model's, as in hybrids not every layer has the module.
  bool most(Module module) const;
  /// Layers in which the module is named for itself; whole layers that are named.
  int named(Module module) const { return of(module).own; }
  int whole_layers() const { return whole_; }

 private:
  struct Layers {
    bool all = false;
    int own = 0;
    std::set<int> layers;
  };
  const Layers& of(Module module) const { return covered_[static_cast<std::size_t>(module)]; }
  std::array<Layers, kModules> covered_;
  std::set<int> mentioned_;
  int layers_ = 0, whole_ = 0;
};

/// "mixers", "routed experts", ...: for notes.
std::string_view describe(Module module);

}  // namespace orrery
