#include <cstdio>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "command.hpp"
#include "listings.hpp"
#include "model/methods.hpp"
#include "model/rewrite.hpp"
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

/// Every method whose id begins with `filter`, or that uses the block of that name: what it is, the
/// parameters that express it, what its test asserts, and whether it can be applied to a model.
int list_methods(const OutputOptions& output, const std::string& filter) {
  Json all = Json::array();
  std::vector<std::string> known;
  for (const auto& m : load_methods()) {
    if (known.empty() || known.back() != m.group()) known.push_back(m.group());
    if (m.id.rfind(filter, 0) != 0 && !m.blocks.contains(filter)) continue;
    const std::string why_not = why_no_rewrite(m);
    all.push_back({{"id", m.id},
                   {"method", m.name},
                   {"blocks", m.blocks},
                   {"rewrites_models", why_not.empty()},
                   {"no_rewrite", why_not},
                   {"test", name(m.test)},
                   {"works_when", m.works_when},
                   {"source", m.source}});
    if (output.json) continue;
    fmt::print("{:<8}{}\n", m.id, m.name);
    for (const auto& [block, parameters] : m.blocks.items()) {
      fmt::print("{:<8}{} {}\n", "", block, parameters.dump());
    }
    fmt::print("{:<8}{}: {}\n", "", name(m.test), m.works_when);
    fmt::print("{:<8}{}\n", "",
               why_not.empty() ? "-m MODEL+" + m.id : "no -m MODEL+" + m.id + ": " + why_not);
  }
  if (all.empty()) {
    throw ConfigError(fmt::format("no method's id or block is '{}'", filter),
                      fmt::format("groups: {}", fmt::join(known, " ")), ExitCode::usage);
  }
  if (output.json) std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

int run(const std::vector<std::string>& args) {
  std::string kind, filter;
  Options options("list", "What can be named: models, devices, engines, policies, formats, methods.");
  options.positional("KIND", kind, "which; without it, the kinds", false)
      .positional("FILTER", filter, "of methods: a group, an id or a block", false);
  options.example("orrery list kernels").example("orrery list methods SPA-18");
  if (!options.parse(args)) return 0;
  if (kind.empty()) return list_kinds(options.output());
  if (kind == "methods") return list_methods(options.output(), filter);
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
