#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/json.hpp"
#include "scenario/scenario.hpp"
#include "scenario/settings.hpp"

namespace orrery {

namespace {

/// Sections that may be written as their one main value: "router": "least_requests".
struct MainValue {
  const char* section;
  const char* key;
  const char* setting;
};
constexpr MainValue kMainValues[] = {{"router", "policy", "router"}};

class Reader {
 public:
  explicit Reader(std::shared_ptr<const JsonDocument> document) : doc_(std::move(document)) {}

  Assignments read() {
    if (!doc_->root().is_object()) {
      throw ConfigError("expected an object with \"model\", \"hardware\", \"engine_args\", \"workload\", ...")
          .at(doc_->path(), 1);
    }
    std::set<std::string> sections;
    for (const auto& s : settings()) {
      if (!s.section.empty()) sections.insert(s.section);
    }
    for (const auto& [key, value] : doc_->root().items()) {
      if (sections.count(key)) {
        read_section(key, value);
      } else if (const auto* main = main_value(key); main && value.is_object()) {
        for (const auto& [inner, inner_value] : value.items()) {
          const std::string pointer = fmt::format("/{}/{}", key, inner);
          if (inner != main->key) refuse(pointer, inner, {main->key});
          assign(main->setting, pointer, inner_value);
        }
      } else {
        read_key("", key, value);
      }
    }
    return std::move(out_);
  }

 private:
  static const MainValue* main_value(const std::string& key) {
    for (const auto& m : kMainValues) {
      if (key == m.section) return &m;
    }
    return nullptr;
  }

  void read_section(const std::string& section, const Json& value) {
    if (!value.is_object()) {
      throw ConfigError(section + ": expected an object, found " + value.dump())
          .at(doc_->path(), doc_->line_of(fmt::format("/{}", section)));
    }
    for (const auto& [key, inner] : value.items()) read_key(section, key, inner);
  }

  void read_key(const std::string& section, const std::string& key, const Json& value) {
    const std::string pointer =
        section.empty() ? fmt::format("/{}", key) : fmt::format("/{}/{}", section, key);
    const Setting* setting = find_setting(key);
    if (setting && setting->section == section) return assign(key, pointer, value);
    if (setting) {
      const std::string place =
          setting->section.empty() ? std::string("the top level") : fmt::format("\"{}\"", setting->section);
      throw error(pointer, "'" + key + "' does not belong here", "it belongs under " + place);
    }
    std::vector<std::string> known;
    for (const auto& s : settings()) {
      if (s.section == section) known.push_back(s.name);
      if (section.empty() && !s.section.empty()) known.push_back(s.section);
    }
    refuse(pointer, key, known);
  }

  [[noreturn]] void refuse(const std::string& pointer, const std::string& key,
                           std::vector<std::string> known) {
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    throw error(pointer, "unknown key '" + key + "'", suggestion(key, known));
  }

  ConfigError error(const std::string& pointer, const std::string& message, const std::string& hint) {
    const long line = doc_->line_of(pointer);
    ConfigError e(message, hint);
    e.at(doc_->path(), line, 0, line > 0 ? doc_->line_text(line) : "");
    return e;
  }

  void assign(const std::string& name, const std::string& pointer, const Json& value) {
    if (value.is_null()) return;  // as if it were not written
    Assignment a;
    a.name = name;
    a.value = find_setting(name)->json && value.is_object() ? value.dump() : text_of(pointer, value);
    a.file = doc_->path();
    a.line = doc_->line_of(pointer);
    a.origin = a.file + ":" + std::to_string(a.line);
    out_.push_back(std::move(a));
  }

  /// Scalars as written; lists joined with ','; {"distribution": NAME, ...} and {"process": NAME, ...} as
  /// NAME:key=value,... and other objects as key=value,...
  std::string text_of(const std::string& pointer, const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    std::string out;
    if (value.is_array()) {
      for (const auto& item : value)
        out += fmt::format("{}{}", out.empty() ? "" : ",", text_of(pointer, item));
      return out;
    }
    if (!value.is_object()) return value.dump();
    std::string name;
    for (const auto& [key, item] : value.items()) {
      if (item.is_structured()) throw error(pointer, "'" + key + "' is nested too deeply", "");
      if (key == "distribution" || key == "process") {
        name = text_of(pointer, item);
      } else {
        out += fmt::format("{}{}={}", out.empty() ? "" : ",", key, text_of(pointer, item));
      }
    }
    return name.empty() || out.empty() ? name + out : name + ":" + out;
  }

  std::shared_ptr<const JsonDocument> doc_;
  Assignments out_;
};

}  // namespace

Assignments read_scenario(std::shared_ptr<const JsonDocument> document) {
  return Reader(std::move(document)).read();
}

Assignments read_scenario_file(const std::string& path) {
  return read_scenario(JsonDocument::load(path));
}

}  // namespace orrery
