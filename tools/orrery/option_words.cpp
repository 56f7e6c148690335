#include "option_words.hpp"

#include <algorithm>
#include <cstdlib>

namespace orrery {

std::vector<std::string> normalise_words(const std::vector<std::string>& words,
                                         const std::map<std::string, std::string>& shorthands) {
  std::vector<std::string> out;
  bool options = true;
  for (std::string word : words) {
    options = options && word != "--";
    if (options && word.size() > 1 && word[0] == '-') {
      const auto equals = word.find('=');
      const auto name = word.substr(0, equals);
      const auto value = equals == std::string::npos ? "" : word.substr(equals);
      if (const auto it = shorthands.find(name); it != shorthands.end()) {
        word = it->second + value;
      } else if (word[1] == '-') {
        std::replace(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(name.size()), '_', '-');
      }
    }
    out.push_back(std::move(word));
  }
  return out;
}

std::optional<std::string> help_asked(const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (words[i].rfind("--help=", 0) == 0) return words[i].substr(7);
    if (words[i] != "--help" && words[i] != "-h") continue;
    const bool group = i + 1 < words.size() && !words[i + 1].empty() && words[i + 1][0] != '-';
    return group ? words[i + 1] : std::string();
  }
  return std::nullopt;
}

namespace {
std::size_t terminal_width() {
  const char* columns = std::getenv("COLUMNS");
  const int width = columns ? std::atoi(columns) : 0;
  return static_cast<std::size_t>(std::clamp(width == 0 ? 110 : width, 60, 140));
}
}  // namespace

std::string help_row(const std::string& left, const std::string& help) {
  constexpr std::size_t indent = 40;
  std::string line = "  " + left;
  std::string out;
  if (help.empty()) return line + "\n";
  if (line.size() + 2 > indent) out += line + "\n", line.clear();
  line.resize(indent, ' ');
  const std::size_t width = terminal_width();
  std::size_t start = 0;
  while (start < help.size()) {
    std::size_t end = std::min(help.find(' ', start), help.size());
    if (line.size() > indent && line.size() + (end - start) + 1 > width) {
      out += line + "\n";
      line.assign(indent, ' ');
    }
    if (line.size() > indent) line += ' ';
    line.append(help, start, end - start);
    start = end + 1;
  }
  return out + line + "\n";
}

std::string missing_value_message(const std::string& option) {
  return "option " + (option.rfind("-", 0) == 0 ? option : "--" + option) + " needs a value";
}

}  // namespace orrery
