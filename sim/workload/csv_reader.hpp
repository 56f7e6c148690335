#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "workload/line_reader.hpp"

namespace orrery {

/// Rows of a CSV file whose columns are found by the names in its first line that is no comment ("# ...";
/// case and blanks around names ignored). Quoted fields may hold commas but no line ends.
class CsvReader {
 public:
  /// Errors: ConfigError when there is no header line.
  CsvReader(ByteStreamPtr stream, const std::string& name);

  /// Index of the first of these columns that is there. Errors: ConfigError naming what is there instead.
  int column(std::initializer_list<std::string_view> names) const;
  int column_if(std::initializer_list<std::string_view> names) const;  ///< -1 when absent

  /// Takes the next row. Errors: BadRow when it has more or fewer fields than the header.
  bool next();
  std::string_view field(int column) const { return fields_[static_cast<std::size_t>(column)]; }
  std::int32_t tokens(int column,
                      std::int64_t least = 1) const;  ///< Errors: BadRow unless within [least, kMaxTokens]
  double number(int column) const;                    ///< Errors: BadRow unless finite
  [[noreturn]] void fail(int column, const std::string& expected) const;
  long line() const { return lines_.number(); }

 private:
  std::size_t split();
  std::int64_t whole_number(int column, std::int64_t least) const;

  LineReader lines_;
  std::vector<std::string> names_;
  std::string_view row_;
  std::array<std::string_view, 32> fields_;
};

}  // namespace orrery
