#include "cost/measured.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <iterator>

#include "base/registry.hpp"
#include "cost/alpha_beta.hpp"
#include "cost/fitted.hpp"
#include "cost/measured_table.hpp"
#include "cost/scaled.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace fs = std::filesystem;

namespace {
constexpr std::size_t kNone = ~std::size_t{0};

/// FNV-1a over the bits of all dims but `skip`.
std::uint64_t hash_dims(std::span<const double> dims, std::size_t skip) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (i == skip) continue;
    h = (h ^ std::bit_cast<std::uint64_t>(dims[i])) * 0x100000001b3ULL;
    h ^= h >> 29;
  }
  return h;
}

}  // namespace

MeasuredModel::MeasuredModel(const std::string& folder, KernelCostModelPtr backing,
                             const EngineKernelFactors& factors, Kernels kernels)
    : backing_(std::move(backing)),
      factors_(kernels == Kernels::of_engines ? EngineFactors(factors) : EngineFactors()),
      kernels_(kernels) {
  std::map<const KernelClass*, std::vector<MeasuredRow>> rows;
  for (const auto& path : csv_files(folder)) {
    MeasuredTable table = read_measured_table(path);
    if (table.rows.empty()) continue;
    sources_.push_back("measured " + std::to_string(table.rows.size()) + " rows, " + table.file +
                       (table.provenance.empty() ? "" : ": " + table.provenance));
    auto& of_class = rows[table.cls];
    std::move(table.rows.begin(), table.rows.end(), std::back_inserter(of_class));
  }
  for (auto& [cls, of_class] : rows) {
    for (const auto& row : fastest_medians(std::move(of_class), kernels)) add(*cls, row);
  }
  for (auto& [key, table] : tables_) sort_lines(table);
}

void MeasuredModel::add(const KernelClass& cls, const MeasuredRow& row) {
  Table& table = tables_[{&cls, row.dtype, row.weight_dtype}];
  while (table.dims < cls.dims.size() && !cls.dims[table.dims].empty()) ++table.dims;
  table.lines.resize(table.dims);
  table.range.resize(table.dims, {HUGE_VAL, 0});
  const std::span<const double> dims(row.dims.data(), table.dims);
  table.exact[hash_dims(dims, kNone)] = row.seconds;
  for (std::size_t a = 0; a < table.dims; ++a) {
    auto& [low, high] = table.range[a];
    low = std::min(low, dims[a]), high = std::max(high, dims[a]);
    if (dims[a] <= 0) continue;  // has no logarithm: priced where it was run only
    table.lines[a][hash_dims(dims, a)].push_back({std::log(dims[a]), std::log(row.seconds)});
  }
}

void MeasuredModel::sort_lines(Table& table) {
  for (auto& axis : table.lines) {
    for (auto& [hash, line] : axis) {
      std::sort(line.begin(), line.end(), [](const Point& a, const Point& b) { return a.log_x < b.log_x; });
    }
  }
}

KernelTime MeasuredModel::price(const KernelCall& call) const {
  auto found = tables_.find({call.cls, call.dtype, call.weight_dtype});
  // A group spaced out over nodes is no group of neighbours.
  if (found == tables_.end() && call.cls->like != nullptr &&
      (!is_collective(*call.cls) || spacing_of(call) == 1)) {
    found = tables_.find({call.cls->like, call.dtype, call.weight_dtype});
  }
  if (found == tables_.end()) return backing_->price(call);
  const Table& table = found->second;
  const std::span<const double> dims(call.dims.data(), table.dims);
  if (const auto it = table.exact.find(hash_dims(dims, kNone)); it != table.exact.end()) {
    return as_engine(call, {Seconds(it->second), Provenance::measured});
  }
  double sum = 0, weights = 0;
  for (std::size_t a = 0; a < table.dims; ++a) {
    const auto it = table.lines[a].find(hash_dims(dims, a));
    if (it == table.lines[a].end() || dims[a] <= 0) continue;
    const Line& line = it->second;
    const double x = std::log(dims[a]);
    const auto high =
        std::lower_bound(line.begin(), line.end(), x, [](const Point& p, double v) { return p.log_x < v; });
    if (high == line.begin() || high == line.end()) continue;
    const Point low = *(high - 1);
    const double gap = high->log_x - low.log_x, u = (x - low.log_x) / gap;
    sum += (low.log_time + u * (high->log_time - low.log_time)) / (gap * gap);
    weights += 1 / (gap * gap);
  }
  if (weights == 0) return backing_->price(call);
  return as_engine(call, {Seconds(std::exp(sum / weights)), Provenance::interpolated});
}

KernelTime MeasuredModel::as_engine(const KernelCall& call, KernelTime timed) const {
  timed.time = timed.time * factors_.of(call.cls);
  if (kernels_ == Kernels::of_engines && quantises_input(call)) {
    timed.time = timed.time + price(input_quantisation(call)).time;
  }
  return timed;
}

ClassError MeasuredModel::error(const KernelClass& cls, Provenance provenance) const {
  if (provenance != Provenance::measured) return backing_->error(cls, provenance);
  // Repeating a measurement of ours: clocks and placement, about 2% (1.2% between neighbouring GEMM shapes).
  return {0.013, 0.033, 0.02};
}

std::vector<CalibratedRange> MeasuredModel::ranges(const KernelCall& like) const {
  std::vector<CalibratedRange> out;
  if (const auto found = tables_.find({like.cls, like.dtype, like.weight_dtype}); found != tables_.end()) {
    out.push_back({"measured", {}});
    for (std::size_t a = 0; a < found->second.dims; ++a) {
      const auto& [low, high] = found->second.range[a];
      out.back().quantities.push_back({std::string(like.cls->dims[a]), low, high});
    }
  }
  for (auto& range : backing_->ranges(like)) out.push_back(std::move(range));
  return out;
}

std::vector<std::string> MeasuredModel::sources() const {
  auto lines = sources_;
  for (auto& line : backing_->sources()) lines.push_back(std::move(line));
  return lines;
}

bool has_measured_rows(const std::string& folder) {
  return !csv_files(folder).empty();
}

KernelCostModelPtr make_measured(const std::string& folder, KernelCostModelPtr backing,
                                 const EngineKernelFactors& factors, Kernels kernels) {
  return std::make_shared<MeasuredModel>(folder, std::move(backing), factors, kernels);
}

KernelCostModelPtr make_measured(const DeviceProfile& device, const Topology& topology,
                                 const std::string& folder, Kernels kernels) {
  const std::string rows = folder.empty() ? device.folder + "/measured" : folder;
  if (!has_measured_rows(rows)) {
    throw ConfigError("no measured kernels for '" + device.name + "': " + rows + " holds no .csv",
                      "use --cost-model fitted or analytic", ExitCode::no_device);
  }
  const std::string fit = device.folder + "/fit.json";
  if (!fs::exists(fit)) return make_measured(rows, make_unmeasured(device, topology), {}, kernels);
  return make_measured(rows, make_fitted(device, topology, "", kernels),
                       FitFile::load(fit).engine_kernel_factor, kernels);
}

const Registration<CostModels> measured{
    "measured", "our own kernel timings, interpolated; the fit where there is none",
    [](const DeviceProfile& d, const Topology& t, const std::string& folder) {
      return make_measured(d, t, folder, Kernels::of_engines);
    }};
const Registration<CostModels> measured_raw{
    "measured-raw", "as measured, without engine kernel factors: our own kernels, for our own engine",
    [](const DeviceProfile& d, const Topology& t, const std::string& folder) {
      return make_measured(d, t, folder, Kernels::as_timed);
    }};

}  // namespace orrery
