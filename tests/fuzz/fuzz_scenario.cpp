// Text people type or paste: scenario files, engine commands and the values of settings. Anything but a
// ConfigError is a finding.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "scenario/scenario.hpp"
#include "scenario/settings.hpp"

using namespace orrery;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] == '{') {
      resolve(read_scenario(JsonDocument::parse("{" + text, "scenario.json")));
    } else if (data[0] < 'A') {
      Scenario scenario;
      const auto& setting = settings()[data[0] % settings().size()];
      setting.set(scenario, text);
      (void)setting.get(scenario);
    } else {
      resolve(parse_engine_command(text).assignments);
    }
  } catch (const ConfigError&) {
  }
  return 0;
}
