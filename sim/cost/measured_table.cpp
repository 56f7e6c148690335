#include "cost/measured_table.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <tuple>

#include "base/error.hpp"
#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace fs = std::filesystem;

namespace {
constexpr std::string_view kClassLine = "# class: ";

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::stringstream in(line);
  for (std::string cell; std::getline(in, cell, ',');) cells.push_back(cell);
  if (!line.empty() && line.back() == ',') cells.emplace_back();
  return cells;
}

/// Where the cells of interest stand in a row.
struct Columns {
  std::size_t dtype = 0, weight_dtype = 0, time = 0;
  std::vector<std::size_t> dims;
  std::optional<std::size_t> variant, power, dram;

  Columns(const KernelClass& cls, const std::vector<std::string>& header) {
    const auto find = [&](std::string_view name) -> std::optional<std::size_t> {
      const auto it = std::find(header.begin(), header.end(), name);
      if (it == header.end()) return std::nullopt;
      return static_cast<std::size_t>(it - header.begin());
    };
    const auto at = [&](std::string_view name) {
      const auto column = find(name);
      if (!column) {
        throw ConfigError(
            "a table of " + std::string(cls.name) + " has no column '" + std::string(name) + "'",
            suggestion(name, header));
      }
      return *column;
    };
    dtype = at("dtype"), weight_dtype = at("weight_dtype"), time = at("time_s");
    for (const auto dim : cls.dims) {
      if (!dim.empty()) dims.push_back(at(dim));
    }
    variant = find("variant"), power = find("power_w"), dram = find("dram_bytes");
  }
};

/// A number of at least 0, or above 0 where `positive`.
double number(const std::vector<std::string>& cells, std::size_t column, bool positive) {
  const std::string& text = column < cells.size() ? cells[column] : std::string();
  char* end = nullptr;
  const double x = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(x) || x < 0 || (positive && x == 0)) {
    throw ConfigError("'" + text + "' in column " + std::to_string(column + 1) + " is not a " +
                      (positive ? "positive number" : "number of at least 0"));
  }
  return x;
}

/// A column that a host may not be able to fill: 0 where it is absent, empty or not a number.
double optional_number(const std::vector<std::string>& cells, std::optional<std::size_t> column) {
  if (!column || *column >= cells.size() || cells[*column].empty()) return 0;
  const double x = std::strtod(cells[*column].c_str(), nullptr);
  return std::isfinite(x) && x > 0 ? x : 0;
}

MeasuredRow row_of(const Columns& columns, const std::vector<std::string>& cells) {
  const auto text = [&](std::size_t column) { return column < cells.size() ? cells[column] : std::string(); };
  MeasuredRow row;
  for (std::size_t i = 0; i < columns.dims.size(); ++i) row.dims[i] = number(cells, columns.dims[i], false);
  row.dtype = parse_dtype(text(columns.dtype));
  row.weight_dtype = parse_dtype(text(columns.weight_dtype));
  row.seconds = number(cells, columns.time, true);
  if (columns.variant) row.variant = text(*columns.variant);
  row.power_w = optional_number(cells, columns.power);
  row.dram_bytes = optional_number(cells, columns.dram);
  return row;
}

void read_comment(const std::string& line, MeasuredTable& table) {
  if (line.rfind(kClassLine, 0) == 0) {
    table.cls = Registry<KernelClasses>::find(line.substr(kClassLine.size())).make;
    return;
  }
  const auto from = line.find_first_not_of("# ");
  if (from == std::string::npos) return;
  if (line.find("dry run") != std::string::npos) {
    throw ConfigError("these rows come from a dry run: nothing was timed",
                      "collect them on the GPU, and delete this file");
  }
  table.provenance += (table.provenance.empty() ? "" : "; ") + line.substr(from);
}
}  // namespace

MeasuredTable read_measured_table(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw ConfigError("cannot read this table of measured kernels").at(path);
  MeasuredTable table;
  table.file = fs::path(path).filename().string();
  std::optional<Columns> columns;
  std::string line;
  long at = 0;
  try {
    while (std::getline(in, line)) {
      ++at;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.empty()) continue;
      if (line.front() == '#') {
        read_comment(line, table);
      } else if (!columns) {
        if (table.cls == nullptr) throw ConfigError("the line '# class: NAME' must come before the columns");
        columns.emplace(*table.cls, split(line));
      } else {
        table.rows.push_back(row_of(*columns, split(line)));
      }
    }
  } catch (ConfigError& e) {
    throw e.at(path, at, 0, line);
  }
  return table;
}

bool MeasuredRow::of_library() const {
  constexpr std::string_view libraries[] = {"cublaslt", "cufft", "nccl"};
  return std::any_of(std::begin(libraries), std::end(libraries),
                     [&](std::string_view library) { return variant.starts_with(library); });
}

std::vector<MeasuredRow> fastest_medians(std::vector<MeasuredRow> rows, Kernels kernels) {
  const auto shape = [](const MeasuredRow& r) { return std::tie(r.dtype, r.weight_dtype, r.dims); };
  std::sort(rows.begin(), rows.end(), [&](const MeasuredRow& a, const MeasuredRow& b) {
    return std::tuple_cat(shape(a), std::tie(a.variant, a.seconds)) <
           std::tuple_cat(shape(b), std::tie(b.variant, b.seconds));
  });
  std::vector<MeasuredRow> out;
  for (std::size_t i = 0, j = 0; i < rows.size(); i = j) {
    while (j < rows.size() && shape(rows[j]) == shape(rows[i]) && rows[j].variant == rows[i].variant) ++j;
    MeasuredRow median = rows[i + (j - i) / 2];
    if ((j - i) % 2 == 0) median.seconds = (rows[i + (j - i) / 2 - 1].seconds + median.seconds) / 2;
    if (!out.empty() && shape(out.back()) == shape(median)) {
      const bool before = out.back().of_library(), now = median.of_library();
      const bool as_engines = kernels == Kernels::of_engines && before != now;
      if (as_engines ? now : median.seconds < out.back().seconds) out.back() = std::move(median);
    } else {
      out.push_back(std::move(median));
    }
  }
  return out;
}

bool is_measured_table(const std::string& path) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line) && !line.empty() && line.front() == '#';) {
    if (line.rfind(kClassLine, 0) == 0) return true;
  }
  return false;
}

std::vector<std::string> csv_files(const std::string& folder) {
  std::vector<std::string> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& e : fs::directory_iterator(folder)) {
    if (e.path().extension() == ".csv") files.push_back(e.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace orrery
