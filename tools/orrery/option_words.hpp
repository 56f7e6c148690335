#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace orrery {

/// In place of arguments: asks a verb to list its options as "--name<TAB>PLACEHOLDER" lines and do nothing
/// else. What shell completion is generated from.
inline constexpr const char* kListOptions = "__options";

/// Rewrites words before parsing: `-tp 2` and `-tp=2` to the long name (`shorthands`), and '_' to '-' in long
/// names, as vLLM's own parser does. Words after "--" are left alone.
std::vector<std::string> normalise_words(const std::vector<std::string>& words,
                                         const std::map<std::string, std::string>& shorthands);

/// The group asked for by `--help [GROUP]`, `-h` or `--help=GROUP` ("" = all); nothing when help was not
/// asked.
std::optional<std::string> help_asked(const std::vector<std::string>& words);

/// "  left          help", wrapped to the terminal.
std::string help_row(const std::string& left, const std::string& help);

std::string missing_value_message(const std::string& option);

}  // namespace orrery
