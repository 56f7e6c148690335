#include "base/sourced.hpp"

namespace orrery {

SourcedReader::SourcedReader(JsonView& document) {
  JsonView listed = document.object("sources");
  for (const auto& key : listed.keys()) sources_[key] = listed.text(key);
}

template <class Read>
auto SourcedReader::figure(JsonView& parent, const std::string& key, const std::string& prefix, Read read) {
  JsonView entry = parent.object(key);
  auto value = read(entry);
  const auto cited = entry.text("source");
  const auto found = sources_.find(cited);
  if (found == sources_.end()) {
    std::vector<std::string> known;
    for (const auto& [name, text] : sources_) known.push_back(name);
    entry.fail("source", "'" + cited + "' is not listed in \"sources\"", suggestion(cited, known));
  }
  figures_.push_back({prefix + key, entry.raw("value").dump(), found->second, entry.text_or("note", "")});
  entry.finish();
  return value;
}

double SourcedReader::number(JsonView& parent, const std::string& key, const std::string& prefix) {
  return figure(parent, key, prefix, [](JsonView& e) { return e.number("value"); });
}

double SourcedReader::number_or(JsonView& parent, const std::string& key, double fallback,
                                const std::string& prefix) {
  return parent.has(key) ? number(parent, key, prefix) : fallback;
}

bool SourcedReader::boolean(JsonView& parent, const std::string& key, const std::string& prefix) {
  return figure(parent, key, prefix, [](JsonView& e) {
    if (!e.raw("value").is_boolean())
      e.fail("value", "expected true or false, found " + e.raw("value").dump());
    return e.raw("value").get<bool>();
  });
}

std::string SourcedReader::text(JsonView& parent, const std::string& key, const std::string& prefix) {
  return figure(parent, key, prefix, [](JsonView& e) { return e.text("value"); });
}

Json SourcedReader::value(JsonView& parent, const std::string& key, const std::string& prefix) {
  return figure(parent, key, prefix, [](JsonView& e) { return e.raw("value"); });
}

std::vector<double> SourcedReader::numbers(JsonView& parent, const std::string& key,
                                           const std::string& prefix) {
  return figure(parent, key, prefix, [](JsonView& e) { return e.numbers("value"); });
}

}  // namespace orrery
