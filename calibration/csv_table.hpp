#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace orrery::calibrate {

/// A small CSV file in memory: '#' lines kept as comments, the first other line is the header. No quoting:
/// the kernel tables have none.
class CsvTable {
 public:
  /// Errors: ConfigError with file and line (unreadable, no header, a row with another number of cells).
  explicit CsvTable(const std::string& path);

  bool has(std::string_view column) const;
  bool has_all(std::initializer_list<std::string_view> columns) const;
  std::size_t rows() const { return cells_.size(); }
  const std::string& path() const { return path_; }
  const std::vector<std::string>& comments() const { return comments_; }

  const std::string& text(std::size_t row, std::string_view column) const;
  double number(std::size_t row,
                std::string_view column) const;  ///< Errors: ConfigError unless finite and >= 0
  double number_or(std::size_t row, std::string_view column, double fallback) const;

 private:
  std::size_t column(std::string_view name) const;
  std::string path_;
  std::vector<std::string> header_, comments_;
  std::vector<std::vector<std::string>> cells_;
  std::vector<long> lines_;
};

}  // namespace orrery::calibrate
