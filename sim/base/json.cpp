#include "base/json.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

namespace orrery {
namespace {

/// Replaces Python's bare Infinity and NaN outside strings by null. Lines stay where they are.
void blank_non_finite(std::string& text) {
  static constexpr std::string_view words[] = {"-Infinity", "Infinity", "NaN"};
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\') {
      ++i;
      continue;
    }
    if (text[i] == '"') in_string = !in_string;
    if (in_string) continue;
    for (const auto word : words) {
      if (text.compare(i, word.size(), word) != 0) continue;
      text.replace(i, word.size(), "null");
      break;
    }
  }
}

std::string kind_of(const Json& v) {
  return v.is_string() ? v.dump() : v.dump().substr(0, 60);
}

}  // namespace

std::shared_ptr<const JsonDocument> JsonDocument::load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw ConfigError("cannot read '" + path + "'").at(path);
  std::stringstream text;
  text << in.rdbuf();
  return parse(std::move(text).str(), path);
}

std::shared_ptr<const JsonDocument> JsonDocument::parse(std::string text, std::string path) {
  auto doc = std::make_shared<JsonDocument>();
  doc->path_ = std::move(path);
  doc->text_ = std::move(text);
  blank_non_finite(doc->text_);
  try {
    doc->root_ = Json::parse(doc->text_);
  } catch (const Json::parse_error& e) {
    const auto end = doc->text_.begin() + static_cast<long>(std::min(e.byte, doc->text_.size()));
    const long line = 1 + std::count(doc->text_.begin(), end, '\n');
    const auto start = std::find(std::make_reverse_iterator(end), doc->text_.rend(), '\n').base();
    throw ConfigError("not valid JSON").at(doc->path_, line, 1 + (end - start), doc->line_text(line));
  } catch (const Json::out_of_range&) {
    throw ConfigError("a number is too large for a double").at(doc->path_);
  }
  return doc;
}

std::string JsonDocument::line_text(long line) const {
  std::istringstream in(text_);
  std::string out;
  while (line-- > 0 && std::getline(in, out)) {
  }
  return out;
}

long JsonDocument::line_of(std::string_view pointer) const {
  // nlohmann::json keeps no positions; finding each key of the path in turn is exact for the files written by
  // people.
  std::size_t at = 0;
  std::stringstream parts{std::string(pointer)};
  std::string part;
  std::getline(parts, part, '/');
  while (std::getline(parts, part, '/')) {
    const bool index =
        !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (index) continue;
    const auto found = text_.find("\"" + part + "\"", at);
    if (found == std::string::npos) break;
    at = found;
  }
  return 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(at), '\n');
}

JsonView::JsonView(std::shared_ptr<const JsonDocument> doc) : doc_(std::move(doc)), value_(&doc_->root()) {
  require_object();
}

JsonView::JsonView(std::shared_ptr<const JsonDocument> doc, const Json& value, std::string pointer)
    : doc_(std::move(doc)), value_(&value), pointer_(std::move(pointer)) {
  require_object();
}

void JsonView::require_object() const {
  if (!value_->is_object()) {
    throw ConfigError((pointer_.empty() ? "the file" : pointer_.substr(1)) + ": expected an object, found " +
                      kind_of(*value_))
        .at(doc_->path(), doc_->line_of(pointer_));
  }
}

const Json* JsonView::find(const std::string& key) const {
  known_.insert(key);
  const auto it = value_->find(key);
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

const Json& JsonView::require(const std::string& key) const {
  if (const Json* v = find(key)) return *v;
  throw ConfigError((pointer_.empty() ? "" : pointer_.substr(1) + ": ") + "missing required key '" + key +
                    "'")
      .at(doc_->path(), doc_->line_of(pointer_));
}

void JsonView::fail(const std::string& key, const std::string& why, const std::string& hint) const {
  const std::string where = pointer_ + "/" + key;
  const long line = doc_->line_of(where);
  throw ConfigError(where.substr(1) + ": " + why, hint).at(doc_->path(), line, 0, doc_->line_text(line));
}

bool JsonView::has(const std::string& key) const {
  return find(key) != nullptr;
}

double JsonView::number(const std::string& key) {
  const Json& v = require(key);
  if (!v.is_number() || !std::isfinite(v.get<double>()))
    fail(key, "expected a finite number, found " + kind_of(v));
  return v.get<double>();
}
double JsonView::number_or(const std::string& key, double fallback) {
  return has(key) ? number(key) : fallback;
}
std::optional<double> JsonView::number_if(const std::string& key) {
  return has(key) ? std::optional(number(key)) : std::nullopt;
}

std::int64_t JsonView::integer(const std::string& key) {
  const Json& v = require(key);
  const bool whole = v.is_number_integer() || (v.is_number() && std::abs(v.get<double>()) < 9e15 &&
                                               v.get<double>() == std::floor(v.get<double>()));
  if (!whole) fail(key, "expected an integer, found " + kind_of(v));
  return v.is_number_integer() ? v.get<std::int64_t>() : static_cast<std::int64_t>(v.get<double>());
}
std::int64_t JsonView::integer_or(const std::string& key, std::int64_t fallback) {
  return has(key) ? integer(key) : fallback;
}

bool JsonView::boolean_or(const std::string& key, bool fallback) {
  const Json* v = find(key);
  if (!v) return fallback;
  if (!v->is_boolean()) fail(key, "expected true or false, found " + kind_of(*v));
  return v->get<bool>();
}

std::string JsonView::text(const std::string& key) {
  const Json& v = require(key);
  if (!v.is_string()) fail(key, "expected a string, found " + kind_of(v));
  return v.get<std::string>();
}
std::string JsonView::text_or(const std::string& key, const std::string& fallback) {
  return has(key) ? text(key) : fallback;
}

std::vector<double> JsonView::numbers(const std::string& key) {
  const Json& v = require(key);
  std::vector<double> out;
  if (!v.is_array()) fail(key, "expected an array of numbers, found " + kind_of(v));
  for (const auto& x : v) {
    if (!x.is_number() || !std::isfinite(x.get<double>()))
      fail(key, "expected finite numbers, found " + kind_of(x));
    out.push_back(x.get<double>());
  }
  return out;
}

std::vector<std::string> JsonView::texts_or(const std::string& key, std::vector<std::string> fallback) {
  const Json* v = find(key);
  if (!v) return fallback;
  if (!v->is_array()) fail(key, "expected an array of strings, found " + kind_of(*v));
  std::vector<std::string> out;
  for (const auto& x : *v) {
    if (!x.is_string()) fail(key, "expected strings, found " + kind_of(x));
    out.push_back(x.get<std::string>());
  }
  return out;
}

JsonView JsonView::object(const std::string& key) {
  return {doc_, require(key), pointer_ + "/" + key};
}

std::optional<JsonView> JsonView::object_if(const std::string& key) {
  return has(key) ? std::optional(object(key)) : std::nullopt;
}

std::vector<JsonView> JsonView::objects(const std::string& key) {
  const Json& v = require(key);
  if (!v.is_array()) fail(key, "expected an array of objects, found " + kind_of(v));
  std::vector<JsonView> out;
  for (std::size_t i = 0; i < v.size(); ++i) {
    out.emplace_back(doc_, v[i], pointer_ + "/" + key + "/" + std::to_string(i));
  }
  return out;
}

std::vector<std::string> JsonView::keys() const {
  std::vector<std::string> out;
  for (auto it = value_->begin(); it != value_->end(); ++it) out.push_back(it.key());
  return out;
}

const Json& JsonView::raw(const std::string& key) {
  return require(key);
}

void JsonView::finish() const {
  for (auto it = value_->begin(); it != value_->end(); ++it) {
    if (known_.count(it.key())) continue;
    fail(it.key(), "unknown key '" + it.key() + "'", suggestion(it.key(), {known_.begin(), known_.end()}));
  }
}

}  // namespace orrery
