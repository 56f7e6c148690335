#include <cstdio>

#include "base/error.hpp"
#include "base/json.hpp"
#include "command.hpp"
#include "listings.hpp"
#include "option_words.hpp"
#include "options.hpp"

namespace orrery {
namespace {

int list_kinds(const OutputOptions& output) {
  if (output.json) {
    Json all = Json::object();
    for (const auto& l : listings()) {
      all[l.kind] = Json::array();
      for (const auto& e : l.entries()) all[l.kind].push_back(e.name);
    }
    std::printf("%s\n", all.dump(2).c_str());
    return 0;
  }
  for (const auto& l : listings()) std::fputs(help_row(l.kind, l.help).c_str(), stdout);
  std::fputs("\n'orrery list KIND' names them.\n", stdout);
  return 0;
}

int run(const std::vector<std::string>& args) {
  std::string kind;
  Options options("list", "What can be named: models, devices, engines, policies, formats.");
  options.positional("KIND", kind, "which; without it, the kinds", false);
  if (!options.parse(args)) return 0;
  if (kind.empty()) return list_kinds(options.output());
  std::vector<std::string> kinds;
  for (const auto& l : listings()) {
    kinds.push_back(l.kind);
    if (l.kind != kind) continue;
    Json all = Json::array();
    for (const auto& e : l.entries()) {
      all.push_back({{"name", e.name}, {"help", e.help}});
      if (!options.output().json) std::fputs(help_row(e.name, e.help).c_str(), stdout);
    }
    if (options.output().json) std::printf("%s\n", all.dump(2).c_str());
    return 0;
  }
  throw ConfigError("nothing is called '" + kind + "'", suggestion(kind, kinds), ExitCode::usage);
}

const Registration<Commands> registered{
    "list", "what can be named: models, devices, engines, policies, formats", run};

}  // namespace
}  // namespace orrery
