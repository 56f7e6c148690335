#include "options.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "option_words.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

namespace po = boost::program_options;

bool OutputOptions::color_stdout() const {
  if (color != "auto") return color == "always";
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

bool OutputOptions::progress() const {
  return !quiet && !no_progress && isatty(STDERR_FILENO);
}

Options::Options(std::string verb, std::string summary)
    : verb_(std::move(verb)), summary_(std::move(summary)) {
  groups_.push_back({"output", "Output", {}});
  flag("json", output_.json, "print one JSON document");
  flag("quiet,q", output_.quiet, "no notes and no progress");
  flag("no-progress", output_.no_progress, "no progress bar");
  value(
      "color",
      [this](const std::string& v) {
        if (v != "auto" && v != "always" && v != "never") {
          throw ConfigError("expected auto, always or never, found '" + v + "'");
        }
        output_.color = v;
      },
      "auto|always|never", "colour on the terminal (default auto; NO_COLOR is honoured)");
}
Options::~Options() = default;

Options& Options::group(std::string key, std::string title) {
  groups_.insert(groups_.end() - 1, {std::move(key), std::move(title), {}});  // "output" stays last
  return *this;
}

Options& Options::example(std::string line) {
  examples_.push_back(std::move(line));
  return *this;
}

Options& Options::add(const std::string& names, Option option) {
  const auto comma = names.find(',');
  option.name = names.substr(0, comma);
  if (comma != std::string::npos) option.shorthand = names.substr(comma + 1);
  ORRERY_CHECK(!find(option.name), "option registered twice: --" + option.name);
  auto& target = groups_.size() == 1 ? groups_.back() : groups_[groups_.size() - 2];
  target.options.push_back(std::move(option));
  return *this;
}

Options& Options::flag(const std::string& names, bool& target, const std::string& help) {
  Option o;
  o.help = help;
  o.apply = [&target](const std::string&) { target = true; };
  return add(names, std::move(o));
}

Options& Options::toggle(const std::string& names, Apply apply, const std::string& help) {
  Option o;
  o.help = help;
  o.negatable = true;
  o.apply = std::move(apply);
  return add(names, std::move(o));
}

Options& Options::toggle(const std::string& names, std::optional<bool>& target, const std::string& help) {
  return toggle(
      names, [&target](const std::string& v) { target = parse_boolean(v); }, help);
}

Options& Options::value(const std::string& names, Apply apply, const std::string& placeholder,
                        const std::string& help) {
  Option o;
  o.placeholder = placeholder;
  o.help = help;
  o.takes_value = true;
  o.apply = std::move(apply);
  return add(names, std::move(o));
}

Options& Options::positional(const std::string& placeholder, std::string& target, const std::string& help,
                             bool required) {
  positionals_.push_back(
      {placeholder, help, [&target](const std::string& v) { target = v; }, required, false});
  return *this;
}

Options& Options::positionals(const std::string& placeholder, std::vector<std::string>& target,
                              const std::string& help) {
  positionals_.push_back(
      {placeholder, help, [&target](const std::string& v) { target.push_back(v); }, false, true});
  return *this;
}

const Options::Option* Options::find(std::string_view name) const {
  for (const auto& g : groups_) {
    for (const auto& o : g.options) {
      if (o.name == name) return &o;
    }
  }
  return nullptr;
}

bool Options::given(const std::string& long_name) const {
  return given_.count(long_name) > 0;
}

void Options::refuse_unknown(const std::string& option) const {
  const std::string word = option.substr(0, option.find('='));
  std::vector<std::string> names;
  for (const auto& g : groups_) {
    for (const auto& o : g.options) {
      names.push_back("--" + o.name);
      if (o.negatable) names.push_back("--no-" + o.name);
    }
  }
  const std::string near = nearest(word, names);
  std::string help = "see: orrery " + verb_ + " --help";
  std::string message = "unknown option '" + word + "'";
  if (!near.empty()) {
    message += ". Did you mean " + near + "?";
    for (const auto& g : groups_) {
      const auto has = [&](const Option& o) { return near == "--" + o.name || near == "--no-" + o.name; };
      if (std::any_of(g.options.begin(), g.options.end(), has)) help += " " + g.key;
    }
  }
  throw ConfigError(message, help, ExitCode::usage);
}

namespace {

/// Calls `apply`, turning its complaint about a value into a usage error of the option.
template <class F>
void as_usage(const std::string& where, F&& apply) {
  try {
    apply();
  } catch (const ConfigError& e) {
    if (!e.file().empty() || e.code() == ExitCode::infeasible) throw;
    throw ConfigError(where + ": " + e.what(), e.hint(), ExitCode::usage);
  }
}

}  // namespace

void Options::apply(const Option& option, const std::string& value, bool negated) {
  ++given_[option.name];
  std::string effective = option.takes_value ? value : value.empty() ? "true" : value;
  as_usage("--" + option.name, [&] {
    if (negated) effective = parse_boolean(effective) ? "false" : "true";
    option.apply(effective);
  });
}

void Options::apply_positionals(const std::vector<std::string>& words) {
  std::size_t next = 0;
  for (const auto& p : positionals_) {
    if (next >= words.size() && p.required) {
      throw ConfigError("missing " + p.placeholder + " (" + p.help + ")", "see: orrery " + verb_ + " --help",
                        ExitCode::usage);
    }
    while (next < words.size()) {
      as_usage(p.placeholder, [&] { p.apply(words[next]); });
      ++next;
      if (!p.many) break;
    }
  }
  if (next < words.size()) {
    throw ConfigError("unexpected argument '" + words[next] + "'", "see: orrery " + verb_ + " --help",
                      ExitCode::usage);
  }
}

bool Options::parse(const std::vector<std::string>& args) {
  if (std::find(args.begin(), args.end(), kListOptions) != args.end()) return print_completions(), false;
  std::map<std::string, std::string> shorthands;
  po::options_description description;
  for (const auto& g : groups_) {
    for (const auto& o : g.options) {
      std::string name = o.name;
      if (o.shorthand.size() == 1) name += "," + o.shorthand;
      if (o.shorthand.size() > 1) shorthands["-" + o.shorthand] = "--" + o.name;
      if (o.takes_value) {
        description.add_options()(name.c_str(), po::value<std::string>());
      } else {
        // A switch without a negative takes no value, or it would swallow the argument after it.
        auto* value = po::value<std::string>()->implicit_value("");
        description.add_options()(name.c_str(), o.negatable ? value : value->zero_tokens());
        if (o.negatable) {
          description.add_options()(("no-" + o.name).c_str(), po::value<std::string>()->implicit_value(""));
        }
      }
    }
  }
  const auto words = normalise_words(args, shorthands);
  if (const auto asked = help_asked(words)) return std::fputs(help(*asked).c_str(), stdout), false;

  std::vector<std::string> bare;
  try {
    using namespace po::command_line_style;
    const auto style = unix_style & ~allow_guessing;
    const auto parsed = po::command_line_parser(words).options(description).style(style).run();
    for (const auto& item : parsed.options) {
      if (item.position_key >= 0) {
        bare.insert(bare.end(), item.value.begin(), item.value.end());
        continue;
      }
      const std::string value = item.value.empty() ? "" : item.value.front();
      if (const Option* o = find(item.string_key)) {
        apply(*o, value, false);
      } else {
        apply(*find(item.string_key.substr(3)), value, true);  // "no-" of a toggle
      }
    }
  } catch (const po::unknown_option& e) {
    refuse_unknown(e.get_option_name());
  } catch (const po::error_with_option_name& e) {
    throw ConfigError(missing_value_message(e.get_option_name()), "see: orrery " + verb_ + " --help",
                      ExitCode::usage);
  } catch (const po::error& e) {
    throw ConfigError(e.what(), "see: orrery " + verb_ + " --help", ExitCode::usage);
  }
  apply_positionals(bare);
  return true;
}

void Options::read_value(const std::string& text, std::int64_t& target) {
  target = parse_integer(text, 0, std::numeric_limits<std::int64_t>::max());
}

void Options::read_value(const std::string& text, std::int32_t& target) {
  target = static_cast<std::int32_t>(parse_integer(text, 0, std::numeric_limits<std::int32_t>::max()));
}

void Options::read_value(const std::string& text, std::uint64_t& target) {
  target = static_cast<std::uint64_t>(parse_integer(text, 0, std::numeric_limits<std::int64_t>::max()));
}

void Options::read_value(const std::string& text, double& target) {
  target = parse_number(text);
}

void Options::read_value(const std::string& text, Seconds& target) {
  target = Seconds(parse_duration_s(text));
}

bool is_output_flag(const std::string& word) {
  return word == "--json" || word == "-q" || word == "--quiet" || word == "--no-progress" ||
         word.rfind("--color=", 0) == 0;
}

}  // namespace orrery
