#include "model/methods.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include <fmt/format.h>

#include "base/data_dir.hpp"
#include "base/error.hpp"

namespace orrery {
namespace {

constexpr std::array<std::string_view, 3> kTests{"law", "kernel", "headline"};

/// The sizes for which a row's expressions give its paper's values.
Lookup sizes_of(JsonView& row) {
  const Json at = row.has("at") ? row.raw("at") : Json::object();
  return [at, row](std::string_view name) {
    const auto found = at.find(std::string(name));
    if (found == at.end()) row.fail("at", fmt::format("has no '{}'", name), "the sizes its blocks speak of");
    return *found;
  };
}

Method read_method(JsonView row) {
  Method m;
  m.id = row.text("id");
  m.name = row.text("method");
  m.written = row.object("blocks").value();
  m.blocks = evaluate_blocks(m.written, sizes_of(row));
  m.rewrites = row.texts_or("rewrites", {});
  m.no_rewrite = row.text_or("no_rewrite", "");
  m.works_when = row.text("works_when");
  m.source = row.text_or("source", "");
  const std::string test = row.text("test");
  const auto found = std::find(kTests.begin(), kTests.end(), test);
  if (found == kTests.end()) {
    row.fail("test", fmt::format("'{}' is no kind of test", test), "valid values: law, kernel, headline");
  }
  m.test = static_cast<Method::Test>(found - kTests.begin());
  row.finish();
  return m;
}

}  // namespace

std::string_view name(Method::Test test) {
  return kTests[static_cast<std::size_t>(test)];
}

Json evaluate_blocks(const Json& blocks, const Lookup& sizes) {
  if (blocks.is_string()) {
    const auto& text = blocks.get_ref<const std::string&>();
    return text.starts_with('=') ? evaluate(text.substr(1), sizes) : blocks;
  }
  if (!blocks.is_structured()) return blocks;
  Json out = blocks;
  for (auto& entry : out) entry = evaluate_blocks(entry, sizes);
  return out;
}

std::vector<Method> load_methods() {
  std::vector<Method> methods;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(data_dir() + "/models/methods", ignored)) {
    if (entry.path().extension() != ".json") continue;
    JsonView file(JsonDocument::load(entry.path().string()));
    file.ignore("help");
    for (auto& row : file.objects("rows")) methods.push_back(read_method(std::move(row)));
    file.finish();
  }
  std::sort(methods.begin(), methods.end(), [](const Method& a, const Method& b) { return a.id < b.id; });
  const auto twice = std::adjacent_find(methods.begin(), methods.end(),
                                        [](const Method& a, const Method& b) { return a.id == b.id; });
  if (twice != methods.end()) throw ConfigError(fmt::format("method '{}' stands in two rows", twice->id));
  return methods;
}

Method find_method(const std::string& id) {
  std::string upper = id;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::vector<std::string> ids;
  for (auto& method : load_methods()) {
    if (method.id == upper) return std::move(method);
    ids.push_back(method.id);
  }
  throw ConfigError(fmt::format("unknown method '{}'", id), suggestion(upper, ids));
}

}  // namespace orrery
