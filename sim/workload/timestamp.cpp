#include "workload/timestamp.hpp"

#include <chrono>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

/// The number of the `digits` characters at `p`, or a negative one when they are not all digits.
int fixed_digits(const char* p, int digits) {
  int value = 0;
  for (int i = 0; i < digits; ++i) {
    if (p[i] < '0' || p[i] > '9') return -1;
    value = 10 * value + (p[i] - '0');
  }
  return value;
}

/// Takes ".123" from the front; negative when there is a dot without 1 to 9 digits.
std::int64_t take_fraction_ns(std::string_view& text) {
  if (text.empty() || text.front() != '.') return 0;
  std::int64_t value = 0, unit = kNsPerSecond;
  std::size_t i = 1;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    if (unit == 1) return -1;
    value = 10 * value + (text[i] - '0');
    unit /= 10;
  }
  text.remove_prefix(i);
  return i == 1 ? -1 : value * unit;
}

/// Seconds east of Greenwich of "", "Z", "+hh", "+hhmm" or "+hh:mm".
std::optional<std::int64_t> zone_offset(std::string_view text) {
  if (text.empty() || text == "Z" || text == "z") return 0;
  const int sign = text.front() == '+' ? 1 : text.front() == '-' ? -1 : 0;
  text.remove_prefix(1);
  if (sign == 0 || (text.size() != 2 && text.size() != 4 && text.size() != 5)) return std::nullopt;
  if (text.size() == 5 && text[2] != ':') return std::nullopt;
  const int hours = fixed_digits(text.data(), 2);
  const int minutes = text.size() == 2 ? 0 : fixed_digits(text.data() + text.size() - 2, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
  return sign * (hours * 3600 + minutes * 60);
}

}  // namespace

std::optional<std::int64_t> parse_timestamp_ns(std::string_view text) {
  using namespace std::chrono;
  constexpr std::size_t to_seconds = sizeof("2023-11-16 18:15:46") - 1;
  if (text.size() < to_seconds) return std::nullopt;
  const char* p = text.data();
  const bool shaped =
      p[4] == '-' && p[7] == '-' && (p[10] == ' ' || p[10] == 'T') && p[13] == ':' && p[16] == ':';
  const int y = fixed_digits(p, 4), mo = fixed_digits(p + 5, 2), d = fixed_digits(p + 8, 2);
  const int h = fixed_digits(p + 11, 2), mi = fixed_digits(p + 14, 2), s = fixed_digits(p + 17, 2);
  if (!shaped || (y | mo | d | h | mi | s) < 0 || y < 1700 || y > 2200 || h > 23 || mi > 59 || s > 60) {
    return std::nullopt;
  }
  const year_month_day date{year(y), month(static_cast<unsigned>(mo)), day(static_cast<unsigned>(d))};
  if (!date.ok()) return std::nullopt;
  text.remove_prefix(to_seconds);
  const std::int64_t fraction = take_fraction_ns(text);
  const auto offset = zone_offset(text);
  if (fraction < 0 || !offset) return std::nullopt;
  const std::int64_t days = sys_days(date).time_since_epoch().count();
  return (days * 86400 + h * 3600 + mi * 60 + s - *offset) * kNsPerSecond + fraction;
}

std::string format_timestamp(std::int64_t ns) {
  using namespace std::chrono;
  const sys_time<nanoseconds> t{nanoseconds(ns)};
  const auto day_start = floor<days>(t);
  const year_month_day date{day_start};
  const hh_mm_ss clock{t - day_start};
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:07}", int(date.year()), unsigned(date.month()),
                     unsigned(date.day()), clock.hours().count(), clock.minutes().count(),
                     clock.seconds().count(), clock.subseconds().count() / 100);
}

}  // namespace orrery
