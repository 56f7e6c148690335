#pragma once

#include <string>

#include "base/error.hpp"

namespace orrery {

/// A user error as the terminal shows it:
///
///   error: azure.csv:1042:27: GeneratedTokens: expected an integer, found "12a"
///      1042 | 2023-11-16 18:22:10.1930000,874,12a
///           |                                 ^
///     hint: skip bad rows with --on-bad-row skip  [exit 3]
std::string render_error(const ConfigError& error);

}  // namespace orrery
