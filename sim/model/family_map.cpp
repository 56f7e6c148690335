#include "model/family_map.hpp"

#include <algorithm>
#include <filesystem>

#include "base/data_dir.hpp"

namespace orrery {
namespace {

std::string family_path(const std::string& name) {
  return data_dir() + "/models/families/" + name + ".json";
}

/// Whether `text` matches `pattern`, in which '*' stands for any run of characters.
bool matches(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (text.substr(0, star) != pattern.substr(0, star)) return false;
  const auto rest = pattern.substr(star + 1);
  for (std::size_t i = star; i <= text.size(); ++i) {
    if (matches(rest, text.substr(i))) return true;
  }
  return false;
}

FieldRule read_rule(JsonView& fields, const std::string& name) {
  if (!fields.raw(name).is_object()) return {{}, fields.raw(name), {}, {}, false};
  auto rule = fields.object(name);
  FieldRule read{
      rule.texts_or("keys", {}), {}, {}, rule.texts_or("words", {}), rule.boolean_or("per_layer", false)};
  if (rule.has("default")) read.fallback = rule.raw("default");
  if (rule.has("null")) read.when_null = rule.raw("null");
  rule.finish();
  return read;
}

void read_checks(JsonView checks, std::vector<FieldCheck>& out) {
  for (const auto& name : checks.keys()) {
    auto check = checks.object(name);
    out.push_back({check.text("require"), check.text("field"), check.text("why")});
    check.finish();
  }
}

/// A file with what it extends underneath.
Json merged(const std::string& name, int depth) {
  const auto doc = JsonDocument::load(family_path(name));
  Json own = doc->root();
  if (!own.is_object() || !own.contains("extends")) return own;
  if (depth == 8) JsonView(doc).fail("extends", "more than eight files extend each other");
  Json base = merged(own.at("extends").get<std::string>(), depth + 1);
  Json ignored = base.value("ignored", Json::array());
  for (const auto& key : own.value("ignored", Json::array())) ignored.push_back(key);
  base.merge_patch(own);
  base["ignored"] = std::move(ignored);
  return base;
}

}  // namespace

bool FamilyMap::ignores(std::string_view key) const {
  return std::any_of(ignored.begin(), ignored.end(), [&](const std::string& p) { return matches(p, key); });
}

bool FamilyMap::reads(const std::string& key) const {
  if (must_be.count(key) > 0) return true;
  const auto names = [&](const std::string& full) { return full.substr(0, full.find('.')) == key; };
  return std::any_of(fields.begin(), fields.end(), [&](const auto& f) {
    return std::any_of(f.second.keys.begin(), f.second.keys.end(), names);
  });
}

std::vector<std::string> list_families() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(data_dir() + "/models/families", ignored)) {
    const auto& path = entry.path();
    // A file whose name starts with '_' is only extended by others.
    if (path.extension() == ".json" && path.stem().string().front() != '_')
      names.push_back(path.stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

FamilyMap load_family(const std::string& model_type) {
  FamilyMap family;
  family.model_type = model_type;
  family.path = family_path(model_type);
  JsonView view(JsonDocument::parse(merged(model_type, 0).dump(1), family.path));
  for (const char* note : {"help", "source", "extends"}) view.ignore(note);
  family.architectures = view.texts_or("architectures", {});
  auto fields = view.object("fields");
  for (const auto& name : fields.keys()) family.fields[name] = read_rule(fields, name);
  if (view.has("stack")) family.stack = view.raw("stack");
  if (view.has("encoder")) family.encoder = view.raw("encoder");
  if (auto checks = view.object_if("checks")) read_checks(std::move(*checks), family.checks);
  if (auto exact = view.object_if("must_be")) {
    for (const auto& key : exact->keys()) family.must_be[key] = exact->raw(key);
  }
  family.ignored = view.texts_or("ignored", {});
  view.finish();
  return family;
}

}  // namespace orrery
