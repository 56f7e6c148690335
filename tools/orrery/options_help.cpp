#include <algorithm>
#include <cstdio>

#include "base/error.hpp"
#include "option_words.hpp"
#include "options.hpp"

namespace orrery {

std::string Options::help(const std::string& group) const {
  std::string out;
  std::vector<std::string> keys;
  for (const auto& g : groups_) keys.push_back(g.key);
  if (!group.empty() && std::find(keys.begin(), keys.end(), group) == keys.end()) {
    throw ConfigError("no group of options is called '" + group + "'", suggestion(group, keys),
                      ExitCode::usage);
  }
  if (group.empty()) {
    out += summary_ + "\n\nusage: orrery " + verb_ + " [options]";
    for (const auto& p : positionals_) {
      const std::string word = p.placeholder + (p.many ? "..." : "");
      out += p.required ? " " + word : " [" + word + "]";
    }
    out += '\n';
    if (!positionals_.empty()) out += '\n';
    for (const auto& p : positionals_) out += help_row(p.placeholder, p.help);
  }
  for (const auto& g : groups_) {
    if ((!group.empty() && g.key != group) || g.options.empty()) continue;
    out += "\n" + g.title + (group.empty() && g.key != "output" ? "  (--help " + g.key + ")" : "") + "\n";
    for (const auto& o : g.options) {
      std::string left =
          o.shorthand.empty() ? "    " : "-" + o.shorthand + (o.shorthand.size() > 1 ? "," : ", ");
      left += (o.negatable ? "--[no-]" : "--") + o.name;
      if (o.takes_value) left += " " + o.placeholder;
      out += help_row(left, o.help);
    }
  }
  if (group.empty() && !examples_.empty()) {
    out += "\nExamples\n";
    for (const auto& e : examples_) out += "  " + e + "\n";
  }
  return out;
}

void Options::print_completions() const {
  std::string out;
  for (const auto& g : groups_) {
    for (const auto& o : g.options) {
      out += "--" + o.name + "\t" + o.placeholder + "\n";
      if (!o.shorthand.empty()) out += "-" + o.shorthand + "\t" + o.placeholder + "\n";
      if (o.negatable) out += "--no-" + o.name + "\t\n";
    }
  }
  for (const auto& p : positionals_) out += "\t" + p.placeholder + "\n";
  std::fputs(out.c_str(), stdout);
}

int dispatch(const std::string& verb, const std::string& summary, const std::vector<Subcommand>& subcommands,
             const std::vector<std::string>& args) {
  std::vector<std::string> names;
  std::string listing = summary + "\n\nusage: orrery " + verb + " COMMAND ...\n\n";
  for (const auto& s : subcommands) {
    names.push_back(s.name);
    listing += help_row(s.name, s.help);
  }
  std::vector<std::string> rest = args;
  const auto first =
      std::find_if(rest.begin(), rest.end(), [](const auto& w) { return w.empty() || w[0] != '-'; });
  if (first != rest.end() && *first == kListOptions) {
    for (const auto& n : names) std::printf("%s\tCOMMAND\n", n.c_str());
    return 0;
  }
  if (first == rest.end()) {
    const bool asked = help_asked(args).has_value();
    std::fputs(listing.c_str(), asked ? stdout : stderr);
    return static_cast<int>(asked ? ExitCode::ok : ExitCode::usage);
  }
  for (const auto& s : subcommands) {
    if (s.name != *first) continue;
    rest.erase(first);
    return s.run(rest);
  }
  throw ConfigError("unknown command 'orrery " + verb + " " + *first + "'", suggestion(*first, names),
                    ExitCode::usage);
}

}  // namespace orrery
