#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"

namespace orrery {

/// Where one fact about a model is found in a family's config.json.
struct FieldRule {
  std::vector<std::string> keys;  ///< synonyms; empty = a constant of the family
  Json fallback;   ///< constant or class default: a value, "heads", or "hidden / heads"; null = required
  Json when_null;  ///< what an explicit null means; null = as if absent
};

/// How the layers of a family differ: `period` repeats over the layers, each entry "full" or "window".
struct LayerRule {
  std::string types_key;                     ///< a list in the config that overrides the period; "" = none
  std::map<std::string, std::string> types;  ///< its words -> "full" or "window"
  std::vector<std::string> period{"full"};
};

/// A family of models: models/families/<model_type>.json. Data only; adding a family that differs in its
/// fields, defaults or layer pattern touches no C++. `extends` takes over what another file says, key by key.
struct FamilyMap {
  std::string model_type;
  std::string path;
  std::vector<std::string> architectures;  ///< accepted values of the config's `architectures`
  std::map<std::string, FieldRule> fields;
  LayerRule layers;
  std::map<std::string, Json> must_be;  ///< fields understood at one value only
  std::vector<std::string> ignored;     ///< fields that change no cost; '*' stands for anything

  bool ignores(std::string_view key) const;
  bool reads(const std::string& key) const;
};

/// Families that can be imported, sorted.
std::vector<std::string> list_families();

/// Errors: ConfigError when the file is wrong; the caller checks that the family exists.
FamilyMap load_family(const std::string& model_type);

}  // namespace orrery
