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

void read_fields(JsonView fields, std::map<std::string, FieldRule>& out) {
  for (const auto& name : fields.keys()) {
    if (!fields.raw(name).is_object()) {
      out[name] = {{}, fields.raw(name), {}};
      continue;
    }
    auto rule = fields.object(name);
    FieldRule read{rule.texts_or("keys", {}), {}, {}};
    if (rule.has("default")) read.fallback = rule.raw("default");
    if (rule.has("null")) read.when_null = rule.raw("null");
    rule.finish();
    out[name] = std::move(read);
  }
}

void read_layers(JsonView view, LayerRule& out) {
  out.types_key = view.text_or("types_key", "");
  if (auto types = view.object_if("types")) {
    for (const auto& word : types->keys()) out.types[word] = types->text(word);
  }
  out.period = view.texts_or("period", {"full"});
  if (out.period.empty()) view.fail("period", "expected at least one entry");
  view.finish();
}

/// Reads one file over what it extends.
void read_into(const std::string& name, FamilyMap& out, int depth) {
  const auto doc = JsonDocument::load(family_path(name));
  JsonView view(doc);
  view.ignore("help");
  view.ignore("source");
  if (view.has("extends")) {
    if (depth == 4) view.fail("extends", "more than four files extend each other");
    read_into(view.text("extends"), out, depth + 1);
  }
  out.architectures = view.texts_or("architectures", {});
  if (auto fields = view.object_if("fields")) read_fields(*fields, out.fields);
  if (auto layers = view.object_if("layers")) read_layers(*layers, out.layers);
  if (auto exact = view.object_if("must_be")) {
    for (const auto& key : exact->keys()) out.must_be[key] = exact->raw(key);
  }
  for (auto& key : view.texts_or("ignored", {})) out.ignored.push_back(std::move(key));
  view.finish();
}

}  // namespace

bool FamilyMap::ignores(std::string_view key) const {
  return std::any_of(ignored.begin(), ignored.end(), [&](const std::string& p) { return matches(p, key); });
}

bool FamilyMap::reads(const std::string& key) const {
  if (key == layers.types_key || must_be.count(key) > 0) return true;
  return std::any_of(fields.begin(), fields.end(), [&](const auto& f) {
    return std::find(f.second.keys.begin(), f.second.keys.end(), key) != f.second.keys.end();
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
  read_into(model_type, family, 0);
  return family;
}

}  // namespace orrery
