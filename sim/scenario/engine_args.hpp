#pragma once

#include <span>
#include <string_view>

namespace orrery {

/// What an engine's command-line argument means to the simulator.
enum class ArgClass : unsigned char {
  modelled,      ///< maps to a setting
  no_effect,     ///< does not change timing (names, ports, logging, templates, ...)
  not_modelled,  ///< changes timing and is not modelled: warned of
};

struct EngineArg {
  std::string_view engine;   ///< "vllm", "sglang", "trtllm"
  std::string_view name;     ///< long name with '-'
  std::string_view letters;  ///< "tp"; "" = none
  ArgClass cls = ArgClass::no_effect;
  bool takes_value = true;
  /// modelled: which setting it sets; or eplb_config, speculative.* and options_file, which become settings
  /// together or from a file (engine_command.cpp).
  std::string_view setting;
  std::string_view value;  ///< modelled switches: what they set it to; "" = true
};

std::span<const EngineArg> engine_args();

}  // namespace orrery
