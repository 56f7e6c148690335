#pragma once

#include <map>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "cost/engine_factor.hpp"
#include "cost/kernel_cost_model.hpp"
#include "cost/measured_table.hpp"

namespace orrery {

/// Kernel times we measured ourselves, one table per kernel class and number formats, read between rows: a
/// shape that was run is returned as it is (`measured`); one that differs from rows in one dimension only,
/// and lies between two of them, is interpolated in logarithms (the narrower gap weighs more when several
/// dimensions offer it); anything else goes to `backing`. The file format is in calibration/README.md.
class MeasuredModel final : public KernelCostModel {
 public:
  /// Reads every *.csv of `folder`. Errors: ConfigError with file and line.
  /// Prices are multiplied by the engine's kernel factors, and fp8 GEMMs quantise their input as engines'
  /// do, unless `kernels` asks for our kernels as they were timed.
  MeasuredModel(const std::string& folder, KernelCostModelPtr backing, const EngineKernelFactors& factors,
                Kernels kernels);
  KernelTime price(const KernelCall& call) const override;
  ClassError error(const KernelClass& cls, Provenance provenance) const override;
  std::vector<CalibratedRange> ranges(const KernelCall& like) const override;
  std::vector<std::string> sources() const override;

 private:
  struct Point {
    double log_x, log_time;
  };
  /// Rows that share all dimensions but one, ascending in it.
  using Line = std::vector<Point>;
  struct Table {
    std::size_t dims = 0;
    std::unordered_map<std::uint64_t, double> exact;  ///< hash of all dims -> seconds
    std::vector<std::unordered_map<std::uint64_t, Line>>
        lines;                                     ///< per dimension: hash of the others -> line
    std::vector<std::pair<double, double>> range;  ///< per dimension: smallest and largest
  };
  using Key = std::tuple<const KernelClass*, DType, DType>;
  void add(const KernelClass& cls, const MeasuredRow& row);
  static void sort_lines(Table& table);

  std::map<Key, Table> tables_;
  std::vector<std::string> sources_;
  KernelTime as_engine(const KernelCall& call, KernelTime timed) const;

  KernelCostModelPtr backing_;
  EngineFactors factors_;
  Kernels kernels_;
};

/// Whether the folder exists and holds a .csv.
bool has_measured_rows(const std::string& folder);
KernelCostModelPtr make_measured(const std::string& folder, KernelCostModelPtr backing,
                                 const EngineKernelFactors& factors = {},
                                 Kernels kernels = Kernels::of_engines);
/// The device's measured rows over its fit, or over the datasheet where it has none. Errors: ConfigError
/// (no_device) when `folder` ("" = the device's own) holds no rows.
KernelCostModelPtr make_measured(const DeviceProfile& device, const Topology& topology,
                                 const std::string& folder, Kernels kernels);

}  // namespace orrery
