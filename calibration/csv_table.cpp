#include "calibration/csv_table.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/error.hpp"

namespace orrery::calibrate {

namespace {
std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> out;
  std::size_t from = 0;
  for (std::size_t at = 0; at <= line.size(); ++at) {
    if (at == line.size() || line[at] == ',') {
      out.push_back(line.substr(from, at - from));
      from = at + 1;
    }
  }
  return out;
}
}  // namespace

CsvTable::CsvTable(const std::string& path) : path_(path) {
  std::ifstream in(path);
  if (!in) throw ConfigError("cannot read this kernel table").at(path);
  std::string line;
  for (long number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (line.front() == '#') {
      comments_.push_back(line.substr(
          line.find_first_not_of("# ") == std::string::npos ? line.size() : line.find_first_not_of("# ")));
    } else if (header_.empty()) {
      header_ = split(line);
    } else {
      cells_.push_back(split(line));
      lines_.push_back(number);
      if (cells_.back().size() != header_.size()) {
        throw ConfigError("this row has " + std::to_string(cells_.back().size()) + " cells, the header " +
                          std::to_string(header_.size()))
            .at(path, number, 0, line);
      }
    }
  }
  if (header_.empty()) throw ConfigError("this kernel table has no header").at(path);
}

bool CsvTable::has(std::string_view column) const {
  return std::find(header_.begin(), header_.end(), column) != header_.end();
}

bool CsvTable::has_all(std::initializer_list<std::string_view> columns) const {
  return std::all_of(columns.begin(), columns.end(), [&](std::string_view c) { return has(c); });
}

std::size_t CsvTable::column(std::string_view name) const {
  const auto it = std::find(header_.begin(), header_.end(), name);
  if (it == header_.end()) {
    throw ConfigError("this kernel table has no column '" + std::string(name) + "'",
                      suggestion(name, header_))
        .at(path_);
  }
  return static_cast<std::size_t>(it - header_.begin());
}

const std::string& CsvTable::text(std::size_t row, std::string_view name) const {
  return cells_[row][column(name)];
}

double CsvTable::number(std::size_t row, std::string_view name) const {
  const std::string& cell = text(row, name);
  char* end = nullptr;
  const double x = std::strtod(cell.c_str(), &end);
  if (cell.empty() || *end != '\0' || !std::isfinite(x) || x < 0) {
    throw ConfigError("'" + cell + "' in column '" + std::string(name) + "' is not a number of at least 0")
        .at(path_, lines_[row]);
  }
  return x;
}

double CsvTable::number_or(std::size_t row, std::string_view name, double fallback) const {
  return has(name) ? number(row, name) : fallback;
}

}  // namespace orrery::calibrate
