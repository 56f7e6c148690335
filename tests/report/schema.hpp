#pragma once

#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

/// The part of JSON Schema that docs/schema uses: type, const, enum, required, properties, patternProperties,
/// additionalProperties, items, minItems, maxItems and local $ref. Returns what is wrong, one line each.
class Schema {
 public:
  using Json = nlohmann::json;

  explicit Schema(const std::string& name) {
    std::ifstream(std::string(ORRERY_SOURCE_DIR) + "/docs/schema/" + name) >> root_;
  }
  std::vector<std::string> errors(const Json& value) const {
    std::vector<std::string> out;
    check(root_, value, "$", out);
    return out;
  }

 private:
  static bool has_type(const std::string& type, const Json& v) {
    if (type == "object") return v.is_object();
    if (type == "array") return v.is_array();
    if (type == "string") return v.is_string();
    if (type == "boolean") return v.is_boolean();
    if (type == "integer") return v.is_number_integer();
    if (type == "number") return v.is_number();
    return type == "null" && v.is_null();
  }

  void check(const Json& schema, const Json& v, const std::string& where,
             std::vector<std::string>& out) const {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) out.push_back(where + " is not allowed");
      return;
    }
    if (schema.contains("$ref")) {
      return check(root_.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), v, where, out);
    }
    if (schema.contains("type")) {
      const auto& t = schema["type"];
      bool ok = t.is_string() && has_type(t, v);
      for (std::size_t i = 0; t.is_array() && i < t.size(); ++i) ok = ok || has_type(t[i], v);
      if (!ok) out.push_back(where + " has the wrong type: " + v.dump());
    }
    if (schema.contains("const") && schema["const"] != v)
      out.push_back(where + " is not " + schema["const"].dump());
    if (schema.contains("enum")) {
      const auto& e = schema["enum"];
      if (std::find(e.begin(), e.end(), v) == e.end()) out.push_back(where + " is not listed: " + v.dump());
    }
    if (v.is_object()) check_object(schema, v, where, out);
    if (v.is_array()) {
      if (v.size() < schema.value("minItems", std::size_t{0})) out.push_back(where + " is too short");
      if (v.size() > schema.value("maxItems", v.size())) out.push_back(where + " is too long");
      for (std::size_t i = 0; schema.contains("items") && i < v.size(); ++i) {
        check(schema["items"], v[i], where + "[" + std::to_string(i) + "]", out);
      }
    }
  }

  void check_object(const Json& schema, const Json& v, const std::string& where,
                    std::vector<std::string>& out) const {
    for (const auto& key : schema.value("required", Json::array())) {
      if (!v.contains(key.get<std::string>())) out.push_back(where + " lacks " + key.get<std::string>());
    }
    const auto properties = schema.value("properties", Json::object());
    const auto patterns = schema.value("patternProperties", Json::object());
    for (const auto& [key, value] : v.items()) {
      const std::string place = where + "." + key;
      bool known = properties.contains(key);
      if (known) check(properties[key], value, place, out);
      for (const auto& [pattern, sub] : patterns.items()) {
        if (!std::regex_search(key, std::regex(pattern))) continue;
        known = true;
        check(sub, value, place, out);
      }
      if (!known && schema.contains("additionalProperties")) {
        check(schema["additionalProperties"], value, place, out);
      }
    }
  }

  Json root_;
};
