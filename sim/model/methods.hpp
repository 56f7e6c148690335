#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "model/expression.hpp"

namespace orrery {

/// One method of the literature as a value of the blocks: a row of models/methods/<group>.json.
struct Method {
  enum class Test { law, kernel, headline };
  std::string id;    ///< "LIN-09"
  std::string name;  ///< what its papers call it
  Json blocks;       ///< block -> parameters: {"state": {"rule": "delta", ...}}, as its paper has them
  Json written;      ///< the same with its expressions over a model's sizes: {"heads": "=hidden / 64"}
  std::vector<std::string> rewrites;  ///< blocks that change a model; empty = all of them
  std::string no_rewrite;             ///< why no model can be rewritten by it; "" = one can
  Test test = Test::law;   ///< a derived law, a calibration against a measured kernel, a paper's headline
  std::string works_when;  ///< what its test asserts
  std::string source;

  std::string group() const { return id.substr(0, id.find('-')); }
};
std::string_view name(Method::Test test);

/// `blocks` with every leaf "=..." replaced by the value of the expression. Errors: as evaluate().
Json evaluate_blocks(const Json& blocks, const Lookup& sizes);

/// All methods, by group and number. Errors: ConfigError naming file and row.
std::vector<Method> load_methods();
/// Errors: ConfigError with the nearest id when there is none.
Method find_method(const std::string& id);

}  // namespace orrery
