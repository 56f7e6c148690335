#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/json.hpp"

namespace orrery {

/// Gives the value of a name in an expression. Errors: ConfigError when there is no such name.
using Lookup = std::function<Json(std::string_view name)>;

/// The value of an expression of a family map: numbers, true, false, null, 'words', names and [lists]; + - *
/// / (whole when it divides, else a fraction) // (rounded down) %; == != < <= > >= in; ! && ||; a ? b : c;
/// list[i], 'word'[i] and object['key'] (null when it has none); ceil floor min max len round_up(x, multiple)
/// sum(list) count(list, value). Branches that are not taken are not looked up. Errors: ConfigError quoting
/// the expression.
Json evaluate(std::string_view expression, const Lookup& lookup);

/// Whether `text` is one name and nothing else.
bool is_name(std::string_view text);

}  // namespace orrery
