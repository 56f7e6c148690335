#pragma once

#include <map>
#include <string>
#include <vector>

#include "component.hpp"
#include "measurement.hpp"

namespace orrery::profile {

/// A case of a component: what is measured once.
struct Job {
  std::string component;
  kernels::Case what;
  Extras extras{};
};

/// The line of column names of a class's table.
std::string table_header(const KernelClass& cls);
/// One line of it, without the newline.
std::string table_line(const Job& job, const Measurement& m);
/// Tells whether a case was measured before: all cells of its line that say what it is.
std::string row_key(const Job& job);

/// A line read back.
struct TableRow {
  std::string component, variant, options;
  KernelClass::Dims dims{};
  DType dtype = DType::bf16, weight_dtype = DType::bf16;
  double time_s = 0;
  std::string key;  ///< as row_key says
};

/// Reads lines under one header. Errors: ConfigError for a missing column or a cell that is no number.
class RowReader {
 public:
  RowReader(const KernelClass& cls, const std::string& header);
  TableRow read(const std::string& line) const;

 private:
  std::string cell(const std::vector<std::string>& cells, const char* column) const;
  const KernelClass* cls_;
  std::map<std::string, std::size_t> columns_;
};

std::vector<std::string> split_cells(const std::string& line, char separator = ',');
/// "block_size=16;past=4096"
std::string options_text(const kernels::Case& c);
/// A number cell. Errors: ConfigError.
double parse_cell(const std::string& text, const std::string& column);

}  // namespace orrery::profile
