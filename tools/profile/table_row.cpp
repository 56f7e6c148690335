#include "table_row.hpp"

#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery::profile {

namespace {

std::string number_or_empty(const std::optional<double>& x, const char* format) {
  return x ? fmt::format(fmt::runtime(format), *x) : std::string();
}

std::string shape_cells(const KernelClass& cls, const KernelClass::Dims& dims, DType dtype,
                        DType weight_dtype) {
  std::string text;
  for (std::size_t i = 0; i < dims.size() && !cls.dims[i].empty(); ++i) text += fmt::format("{},", dims[i]);
  return text + fmt::format("{},{}", name(dtype), name(weight_dtype));
}

std::string key_of(const std::string& shape, const std::string& component, const std::string& variant,
                   const std::string& options) {
  return shape + "|" + component + "|" + variant + "|" + options;
}

}  // namespace

std::string options_text(const kernels::Case& c) {
  std::string text;
  for (const auto& [option, value] : c.with) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ";", option, value);
  }
  return text;
}

std::string table_header(const KernelClass& cls) {
  std::string text;
  for (const auto dim : cls.dims) {
    if (!dim.empty()) text += std::string(dim) + ",";
  }
  return text + "dtype,weight_dtype,time_s,variant,time_warm_s,spread,samples,sm_mhz,mem_mhz,power_w," +
         "temperature_c,dram_bytes,throttled,component,options";
}

std::string table_line(const Job& job, const Measurement& m) {
  const KernelCall& call = job.what.call;
  std::string text = shape_cells(*call.cls, call.dims, call.dtype, call.weight_dtype);
  text += fmt::format(",{:.5e},{},{},{:.4f},{}", m.time_s, job.what.variant,
                      number_or_empty(m.time_warm_s, "{:.5e}"), m.spread, m.samples);
  text += "," + number_or_empty(m.gpu.sm_mhz, "{:.0f}") + "," + number_or_empty(m.gpu.mem_mhz, "{:.0f}") +
          "," + number_or_empty(m.gpu.power_w, "{:.1f}") + "," +
          number_or_empty(m.gpu.temperature_c, "{:.0f}") + "," + number_or_empty(m.dram_bytes, "{:.0f}");
  return text + fmt::format(",{},{},{}", m.throttled ? 1 : 0, job.component, options_text(job.what));
}

std::string row_key(const Job& job) {
  const KernelCall& call = job.what.call;
  return key_of(shape_cells(*call.cls, call.dims, call.dtype, call.weight_dtype), job.component,
                job.what.variant, options_text(job.what));
}

std::vector<std::string> split_cells(const std::string& line, char separator) {
  std::vector<std::string> cells;
  for (std::size_t from = 0; from <= line.size();) {
    const std::size_t end = std::min(line.find(separator, from), line.size());
    cells.push_back(line.substr(from, end - from));
    from = end + 1;
  }
  return cells;
}

double parse_cell(const std::string& text, const std::string& column) {
  char* end = nullptr;
  const double x = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(x) || x < 0) {
    throw ConfigError("'" + text + "' in column '" + column + "' is not a number of at least 0");
  }
  return x;
}

RowReader::RowReader(const KernelClass& cls, const std::string& header) : cls_(&cls) {
  const auto names = split_cells(header);
  for (std::size_t i = 0; i < names.size(); ++i) columns_[names[i]] = i;
  const auto need = [&](const std::string& column) {
    if (!columns_.contains(column)) {
      throw ConfigError(fmt::format("a table of {} has no column '{}'", cls.name, column),
                        suggestion(column, names));
    }
  };
  for (const auto dim : cls.dims) {
    if (!dim.empty()) need(std::string(dim));
  }
  need("dtype"), need("weight_dtype");
}

std::string RowReader::cell(const std::vector<std::string>& cells, const char* column) const {
  const auto it = columns_.find(column);
  return it == columns_.end() || it->second >= cells.size() ? std::string() : cells[it->second];
}

TableRow RowReader::read(const std::string& line) const {
  const auto cells = split_cells(line);
  TableRow row;
  for (std::size_t i = 0; i < row.dims.size() && !cls_->dims[i].empty(); ++i) {
    const std::string dim(cls_->dims[i]);
    row.dims[i] = parse_cell(cell(cells, dim.c_str()), dim);
  }
  row.dtype = parse_dtype(cell(cells, "dtype"));
  row.weight_dtype = parse_dtype(cell(cells, "weight_dtype"));
  if (columns_.contains("time_s")) row.time_s = parse_cell(cell(cells, "time_s"), "time_s");
  row.variant = cell(cells, "variant"), row.component = cell(cells, "component");
  row.options = cell(cells, "options");
  row.key = key_of(shape_cells(*cls_, row.dims, row.dtype, row.weight_dtype), row.component, row.variant,
                   row.options);
  return row;
}

}  // namespace orrery::profile
