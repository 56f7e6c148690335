#include "settings.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery::profile {

namespace {

constexpr double kQuickBudget_s = 90;

[[noreturn]] void usage_error(const std::string& what, const std::string& hint) {
  throw ConfigError(what, hint, ExitCode::usage);
}

/// "8m", "90s", "1h", "480" (seconds).
double parse_duration(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string unit(end);
  const double factor = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  const double seconds = number * factor;
  if (end == text.c_str() || !(seconds > 0) || !std::isfinite(seconds)) {
    usage_error("--budget takes a duration, found '" + text + "'", "--budget 8m, --budget 90s");
  }
  return seconds;
}

std::vector<std::string> parse_names(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    if (comma > from) names.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  if (names.empty()) usage_error("--only names nothing", "--only gemm,attention_decode");
  return names;
}

struct Option {
  const char* name;
  const char* value;  ///< what follows, for --help; "" = a flag
  const char* help;
  void (*set)(Settings&, const std::string& value);
};

const Option kOptions[] = {
    {"--budget", "TIME", "stop after this long (8m, 90s); spare time goes where interpolation errs most",
     [](Settings& s, const std::string& v) { s.budget_s = parse_duration(v); }},
    {"--only", "NAMES", "components or kernel classes, separated by commas",
     [](Settings& s, const std::string& v) { s.only = parse_names(v); }},
    {"--only-shapes", "FILE", "measure the shapes of this table (orrery calibrate coverage --out FILE)",
     [](Settings& s, const std::string& v) { s.only_shapes = v; }},
    {"--quick", "", "fewer samples, no power, 90 s unless --budget says otherwise",
     [](Settings& s, const std::string&) { s.quick = true; }},
    {"--out", "DIR", "folder of the tables (default: hwprofiles/<this device>/measured)",
     [](Settings& s, const std::string& v) { s.out = v; }},
    {"--check", "", "first compare every component with its reference on the GPU; leave out those that fail",
     [](Settings& s, const std::string&) { s.check = true; }},
    {"--compare", "DIR", "re-measure a dozen rows of these tables; exit 1 when this GPU is over 8% slower",
     [](Settings& s, const std::string& v) { s.compare = v; }},
    {"--list", "", "components, their cases and the time they take; measures nothing",
     [](Settings& s, const std::string&) { s.list = true; }},
    {"--dry-run", "",
     "everything but measuring, on the CPU's emulator: small cases, checked, a made-up clock",
     [](Settings& s, const std::string&) { s.dry_run = true; }},
    {"--no-counters", "", "no DRAM bytes by hardware counters",
     [](Settings& s, const std::string&) { s.no_counters = true; }},
    {"--probe-counters", "",
     "only try the hardware counters on one launch; exit 4 and the reason when refused",
     [](Settings& s, const std::string&) { s.probe_counters = true; }},
    {"--quiet", "", "no progress on stderr", [](Settings& s, const std::string&) { s.quiet = true; }},
    {"--help", "", "this text", [](Settings& s, const std::string&) { s.help = true; }},
};

const Option& option_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Option& o : kOptions) {
    if (name == o.name) return o;
    names.emplace_back(o.name);
  }
  usage_error("unknown option '" + name + "'", suggestion(name, names));
}

void reject_contradictions(const Settings& s) {
  const std::pair<bool, const char*> modes[] = {
      {s.list, "--list"}, {s.dry_run, "--dry-run"}, {!s.compare.empty(), "--compare"}};
  const char* first = nullptr;
  for (const auto& [given, name] : modes) {
    if (!given) continue;
    if (first != nullptr) usage_error(fmt::format("{} and {} exclude each other", first, name), "give one");
    first = name;
  }
  if (s.dry_run && !s.only_shapes.empty()) {
    usage_error("--dry-run and --only-shapes exclude each other", "a dry run emulates small shapes only");
  }
}

}  // namespace

Settings parse_arguments(const std::vector<std::string>& args) {
  Settings settings;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::size_t equals = args[i].rfind("--", 0) == 0 ? args[i].find('=') : std::string::npos;
    const Option& option = option_named(args[i] == "-h" ? "--help" : args[i].substr(0, equals));
    std::string value;
    if (*option.value != '\0') {
      if (equals != std::string::npos) {
        value = args[i].substr(equals + 1);
      } else if (i + 1 < args.size()) {
        value = args[++i];
      }
      if (value.empty()) usage_error(fmt::format("{} needs a value", option.name), option.help);
    } else if (equals != std::string::npos) {
      usage_error(fmt::format("{} takes no value", option.name), option.help);
    }
    option.set(settings, value);
  }
  reject_contradictions(settings);
  if (settings.quick && !settings.budget_s) settings.budget_s = kQuickBudget_s;
  return settings;
}

std::string help_text(const std::string& program) {
  std::string text = fmt::format(
      "usage: {} [options]\n\nTimes every kernel component on this machine's GPU and writes a table per "
      "kernel "
      "class\n(calibration/README.md). Stopped at any moment and started again, it goes on where it was.\n\n",
      program);
  for (const Option& o : kOptions) {
    text += fmt::format("  {:<22}{}\n", fmt::format("{} {}", o.name, o.value), o.help);
  }
  return text +
         "\nexit codes: 0 done, 1 a check failed or the GPU looks slow, 2 usage, 3 bad input, 4 no GPU or "
         "lost\n";
}

}  // namespace orrery::profile
