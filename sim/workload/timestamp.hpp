#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace orrery {

/// Nanoseconds since 1970 of an ISO 8601 date and time: "2023-11-16 18:15:46.6805900", a 'T' for the blank, 0
/// to 9 fraction digits, optionally Z or an offset (+00:00, +0000, +00). No zone means UTC. Years 1700 to
/// 2200. std::nullopt when it is anything else.
std::optional<std::int64_t> parse_timestamp_ns(std::string_view text);

/// "2023-11-16 18:15:46.6805900": seven fraction digits, as the Azure 2023 traces write it.
std::string format_timestamp(std::int64_t ns);

}  // namespace orrery
