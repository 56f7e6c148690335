#include "workload/csv_reader.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

CsvReader::CsvReader(ByteStreamPtr stream, const std::string& name) : lines_(std::move(stream), name) {
  do {  // lines above the header may say where the data comes from
    if (!lines_.next_filled(row_)) throw ConfigError("the file is empty: expected a header line").at(name);
  } while (row_.front() == '#');
  const std::size_t n = split();
  if (n > fields_.size()) throw ConfigError("more than 32 columns: not a trace of requests").at(name, line());
  for (std::size_t i = 0; i < n; ++i) names_.push_back(printable(trimmed(fields_[i])));
}

int CsvReader::column_if(std::initializer_list<std::string_view> names) const {
  for (const auto wanted : names) {
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (same_name(names_[i], wanted)) return static_cast<int>(i);
    }
  }
  return -1;
}

int CsvReader::column(std::initializer_list<std::string_view> names) const {
  if (const int found = column_if(names); found >= 0) return found;
  std::string have;
  for (const auto& n : names_) have += (have.empty() ? "" : ", ") + n;
  throw ConfigError("no column '" + std::string(*names.begin()) + "'", "the header has: " + have)
      .at(lines_.name(), line());
}

std::size_t CsvReader::split() {
  std::size_t n = 0;
  const char* p = row_.data();
  const char* const end = p + row_.size();
  for (;;) {
    const char* start = p;
    if (p != end && *p == '"') {
      const char* close = std::find(p + 1, end, '"');
      p = std::find(close, end, ',');
      if (n < fields_.size()) fields_[n] = {start + 1, static_cast<std::size_t>(close - start - 1)};
    } else {
      while (p != end && *p != ',') ++p;
      if (n < fields_.size()) fields_[n] = {start, static_cast<std::size_t>(p - start)};
    }
    ++n;
    if (p == end) return n;
    ++p;
  }
}

bool CsvReader::next() {
  if (!lines_.next_filled(row_)) return false;
  const std::size_t n = split();
  if (n != names_.size()) {
    lines_.bad_row(row_, 1,
                   "expected " + std::to_string(names_.size()) + " fields, found " + std::to_string(n));
  }
  return true;
}

std::int32_t CsvReader::tokens(int column, std::int64_t least) const {
  const auto text = field(column);
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= kMaxTokens)
    return value;
  return static_cast<std::int32_t>(whole_number(column, least));
}

std::int64_t CsvReader::whole_number(int column, std::int64_t least) const {
  const auto text = trimmed(field(column));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc{} && end == text.data() + text.size() && !text.empty();
  if (error == std::errc::result_out_of_range || (number && value > static_cast<double>(kMaxTokens))) {
    fail(column, "at most 1,000,000,000 tokens");
  }
  if (!number || value != std::floor(value)) fail(column, "an integer");
  if (value < static_cast<double>(least)) fail(column, "at least " + std::to_string(least));
  return static_cast<std::int64_t>(value);
}

double CsvReader::number(int column) const {
  const auto text = trimmed(field(column));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    fail(column, "a number");
  return value;
}

void CsvReader::fail(int column, const std::string& expected) const {
  const auto text = field(column);
  const auto at = static_cast<std::size_t>(text.data() - row_.data()) + 1;
  lines_.bad_row(row_, at,
                 names_[static_cast<std::size_t>(column)] + ": expected " + expected + ", found \"" +
                     printable(text.substr(0, 60)) + "\"");
}

}  // namespace orrery
