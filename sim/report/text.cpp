#include "report/text.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace orrery {

namespace {

constexpr std::size_t kLabelColumns = 14;

std::string separate_thousands(const std::string& number) {
  const auto point = std::min(number.find('.'), number.size());
  std::string out;
  for (std::size_t i = 0; i < number.size(); ++i) {
    const bool digit_before = i > 0 && number[i - 1] != '-';
    if (digit_before && i < point && (point - i) % 3 == 0) out += ',';
    out += number[i];
  }
  return out;
}

}  // namespace

std::string grouped(std::int64_t value) {
  return separate_thousands(fmt::format("{}", value));
}

std::string grouped(double value, int decimals) {
  if (!std::isfinite(value)) return std::isnan(value) ? "-" : "inf";
  return separate_thousands(fmt::format("{:.{}f}", value, decimals));
}

std::string brief(double value) {
  const double size = std::abs(value);
  int decimals = 0;
  if (size < 1) {
    decimals = 3;
  } else if (size < 10) {
    decimals = 2;
  } else if (size < 100) {
    decimals = 1;
  }
  return grouped(value, decimals);
}

std::string percent(double share) {
  const double p = 100 * share;
  const bool near_an_end = (p > 0 && p < 1) || (p > 99 && p < 100);
  return fmt::format("{:.{}f} %", p, near_an_end ? 1 : 0);
}

std::string duration_text(double seconds) {
  if (seconds < 1) return brief(seconds * 1e3) + " ms";
  if (seconds < 100) return brief(seconds) + " s";
  if (seconds < 6000) return brief(seconds / 60) + " min";
  if (seconds < 48 * 3600) return brief(seconds / 3600) + " h";
  return brief(seconds / 86400) + " d";
}

std::size_t display_width(std::string_view text) {
  std::size_t columns = 0;
  bool escape = false;
  for (const char c : text) {
    if (c == '\033') escape = true;
    if (!escape && (static_cast<unsigned char>(c) & 0xc0) != 0x80) ++columns;
    if (escape && c == 'm') escape = false;
  }
  return columns;
}

std::string Style::wrap(const char* code, std::string_view text) const {
  if (!options_.color) return std::string(text);
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

std::string Style::row(std::string_view label, const std::vector<std::string>& parts) const {
  const auto limit = static_cast<std::size_t>(std::max(40, options_.width));
  std::string out(1, ' ');
  out += dim(label);
  out.append(kLabelColumns - 1 - display_width(label), ' ');
  std::size_t column = kLabelColumns;
  bool first = true;
  for (const auto& part : parts) {
    const auto columns = display_width(part);
    if (!first && column + 3 + columns > limit) {
      out += fmt::format(" {}\n{:{}}", dot(), "", kLabelColumns);
      column = kLabelColumns;
    } else if (!first) {
      out += fmt::format(" {} ", dot());
      column += 3;
    }
    out += part;
    column += columns;
    first = false;
  }
  out += '\n';
  return out;
}

std::string Style::paragraph(std::string_view text, std::size_t indent) const {
  const auto limit = static_cast<std::size_t>(std::max(40, options_.width));
  std::string out(1, ' ');
  std::size_t column = 1;
  bool first = true;
  for (std::size_t from = 0; from <= text.size();) {
    const auto to = std::min(text.find(' ', from), text.size());
    const auto word = text.substr(from, to - from);
    if (!first && column + 1 + display_width(word) > limit) {
      out += '\n';
      out.append(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    first = false;
    out += word;
    column += display_width(word);
    from = to + 1;
  }
  out += '\n';
  return out;
}

}  // namespace orrery
