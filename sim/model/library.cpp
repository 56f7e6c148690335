#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>

#include <fmt/format.h>

#include "base/data_dir.hpp"
#include "model/config_import.hpp"
#include "model/rewrite.hpp"

namespace orrery {
namespace fs = std::filesystem;
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// Removes `word` where a '-' or the end follows it.
void remove_word(std::string& name, const std::string& word) {
  for (auto at = name.find(word); at != std::string::npos; at = name.find(word, at)) {
    const auto end = at + word.size();
    const bool whole = end == name.size() || name[end] == '-';
    if (whole) name.erase(at, word.size());
    if (!whole) at = end;
  }
}

/// A name without what does not tell models apart: case, '_' for '-', the organisation, and words about
/// tuning, file format or precision.
std::string normalised(const std::string& text) {
  std::string name = lower(text);
  if (const auto slash = name.rfind('/'); slash != std::string::npos) name.erase(0, slash + 1);
  std::replace(name.begin(), name.end(), '_', '-');
  for (const char* word : {"-instruct", "-chat", "-hf", "-fp8"}) remove_word(name, word);
  return name;
}

std::shared_ptr<const JsonDocument> quantisation_beside(const std::string& config) {
  constexpr std::string_view ending = "config.json";
  if (!config.ends_with(ending)) return nullptr;
  const std::string path = config.substr(0, config.size() - ending.size()) + "hf_quant_config.json";
  return fs::exists(path) ? JsonDocument::load(path) : nullptr;
}

ModelSpec load_path(const std::string& path, const std::string& name) {
  return import_config(JsonDocument::load(path), name, quantisation_beside(path));
}

std::optional<ModelSpec> load_if_path(const std::string& text) {
  std::error_code ignored;
  const fs::path path(text);
  if (fs::is_directory(path, ignored)) {
    const auto inside = path / "config.json";
    if (!fs::exists(inside, ignored)) return std::nullopt;
    return load_path(inside.string(), fs::canonical(path).filename().string());
  }
  if (!fs::exists(path, ignored)) {
    if (path.extension() == ".json") throw ConfigError(fmt::format("cannot read '{}'", text)).at(text);
    return std::nullopt;
  }
  const bool plain = path.filename() == "config.json";
  const auto folder = fs::absolute(path).parent_path().filename().string();
  return load_path(text, plain ? folder : path.stem().string());
}

/// The shipped model that lists `name` among its aliases, or "".
std::string find_alias(const std::string& name) {
  for (const auto& model : list_models()) {
    JsonView top(JsonDocument::load(fmt::format("{}/models/{}/config.json", data_dir(), model)));
    auto about = top.object_if("orrery");
    if (!about) continue;
    for (const auto& alias : about->texts_or("aliases", {})) {
      if (normalised(alias) == name) return model;
    }
  }
  return "";
}

}  // namespace

std::vector<std::string> list_models() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(data_dir() + "/models", ignored)) {
    if (fs::exists(entry.path() / "config.json", ignored)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

/// "NAME+ID+ID...": the model of that name, rewritten by one row after the other.
ModelSpec load_rewritten(const std::string& text) {
  std::size_t end = text.find('+');
  ModelSpec model = load_model(text.substr(0, end));
  while (end != std::string::npos) {
    const std::size_t begin = end + 1;
    end = text.find('+', begin);
    model = rewrite(std::move(model), find_method(text.substr(begin, end - begin)));
  }
  return model;
}

}  // namespace

ModelSpec load_model(const std::string& name_or_path) {
  if (auto model = load_if_path(name_or_path)) return std::move(*model);
  if (name_or_path.find('+') != std::string::npos) return load_rewritten(name_or_path);
  const auto models = list_models();
  std::string name = normalised(name_or_path);
  if (std::find(models.begin(), models.end(), name) == models.end()) name = find_alias(name);
  if (name.empty()) {
    throw ConfigError(fmt::format("unknown model '{}'", name_or_path),
                      suggestion(normalised(name_or_path), models) + " (or give the path of a config.json)");
  }
  auto model = load_path(fmt::format("{}/models/{}/config.json", data_dir(), name), name);
  if (lower(name_or_path).ends_with("-fp8")) {
    model.notes.emplace_back("number formats are chosen apart from the name: its '-FP8' changes nothing");
  }
  return model;
}

}  // namespace orrery
