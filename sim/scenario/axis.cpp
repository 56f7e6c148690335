#include "scenario/axis.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "scenario/settings.hpp"

namespace orrery {

std::vector<std::string> comma_words(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t start = 0; start <= text.size();) {
    const auto end = std::min(text.find(',', start), text.size());
    if (end > start) out.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return out;
}

Axis parse_axis(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos) {
    throw ConfigError("expected a setting and its values, found '" + text + "'", "--vary max_num_seqs=64,256",
                      ExitCode::usage);
  }
  Axis axis{text.substr(0, equals), comma_words(text.substr(equals + 1))};
  std::replace(axis.setting.begin(), axis.setting.end(), '-', '_');
  const Setting* setting = find_setting(axis.setting);
  if (setting == nullptr) {
    std::vector<std::string> names;
    for (const Setting& s : settings()) names.push_back(s.name);
    throw ConfigError("unknown setting '" + axis.setting + "'", suggestion(axis.setting, names),
                      ExitCode::usage);
  }
  if (axis.values.empty())
    throw ConfigError("nothing to search: " + axis.setting + " has no value",
                      "--vary " + axis.setting + "=A,B", ExitCode::usage);
  for (const std::string& value : axis.values) {
    Scenario scratch;
    setting->set(scratch, value);
  }
  return axis;
}

std::size_t grid_size(const std::vector<Axis>& axes) {
  std::size_t all = 1;
  for (const Axis& axis : axes) all *= axis.values.size();
  return all;
}

std::vector<std::string> grid_point(const std::vector<Axis>& axes, std::size_t i) {
  std::vector<std::string> out;
  std::size_t of = grid_size(axes);
  for (const Axis& axis : axes) {
    of /= axis.values.size();
    out.push_back(axis.values[i / of]);
    i %= of;
  }
  return out;
}

}  // namespace orrery
