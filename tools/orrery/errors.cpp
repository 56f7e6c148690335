#include "errors.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace orrery {

namespace {

constexpr std::size_t kExcerptWidth = 96;

/// The offending line with a caret under its column; long lines are cut around the column.
std::string render_excerpt(const ConfigError& e) {
  std::string text = e.excerpt();
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  std::size_t column = e.column() > 0 ? static_cast<std::size_t>(e.column() - 1) : 0;
  if (text.size() > kExcerptWidth) {
    const std::size_t start =
        column > kExcerptWidth / 2 ? std::min(column - kExcerptWidth / 2, text.size() - kExcerptWidth) : 0;
    const bool cut_end = start + kExcerptWidth < text.size();
    text = (start > 0 ? "…" : "") + text.substr(start, kExcerptWidth) + (cut_end ? "…" : "");
    column = column - start + (start > 0 ? 1 : 0);
  }
  const std::string number = e.line() > 0 ? std::to_string(e.line()) : "";
  std::string out = fmt::format("   {} | {}\n", number, text);
  if (e.column() > 0) out += fmt::format("   {:{}} | {:{}}^\n", "", number.size(), "", column);
  return out;
}

}  // namespace

std::string render_error(const ConfigError& e) {
  std::string where;
  if (!e.file().empty()) {
    where = e.file() + ":";
    if (e.line() > 0) where += std::to_string(e.line()) + ":";
    if (e.line() > 0 && e.column() > 0) where += std::to_string(e.column()) + ":";
    where += " ";
  }
  const std::string code = fmt::format("  [exit {}]", static_cast<int>(e.code()));
  std::string out = "error: " + where + e.what();
  if (e.excerpt().empty() && e.hint().empty()) return out + code + "\n";
  out += "\n";
  if (!e.excerpt().empty()) out += render_excerpt(e);
  if (e.hint().empty()) return out.insert(out.find('\n'), code);
  return out + "  hint: " + e.hint() + code + "\n";
}

}  // namespace orrery
