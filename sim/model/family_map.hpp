#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"

namespace orrery {

/// Where one fact about a model is found in a family's config.json.
struct FieldRule {
  std::vector<std::string> keys;  ///< synonyms, "a.b" for nested ones; empty = a fact of the family
  Json fallback;   ///< when no key is given: a value, or an expression over facts; null = required
  Json when_null;  ///< what an explicit null means; null = as if absent
  std::vector<std::string> words;  ///< accepted values of a text, or of each entry of a list; empty = any
  bool per_layer = false;          ///< a list with one entry for each layer
};

/// A condition the facts of a config must meet; `why` may name facts in braces.
struct FieldCheck {
  std::string require, field, why;
};

/// A family of models: models/families/<model_type>.json. Data only: adding a family touches no C++.
/// `extends` takes over what another file says, value by value (RFC 7386; lists of `ignored` are joined).
struct FamilyMap {
  std::string model_type;
  std::string path;
  std::vector<std::string> architectures;  ///< accepted values of the config's `architectures`
  std::map<std::string, FieldRule> fields;
  /// The blocks of layer i, in order of their names: each with "when", "mixers", "ffn" and "norms", whose
  /// values are expressions over the facts, `layer` (from 0) and `layers` (see block_reader.hpp).
  Json stack = Json::object();
  Json encoder;  ///< the encoder of another modality (EncoderParams), null = none
  std::vector<FieldCheck> checks;
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
