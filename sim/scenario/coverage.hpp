#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cost/step_context.hpp"
#include "cost/step_kernels.hpp"
#include "cost/step_pricer.hpp"
#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Kernel time over the shapes of one class that lie in one cell of its shape space: equal formats and
/// provenance, and every dimension in the same quarter of an octave.
struct ShapeCell {
  const KernelClass* cls = nullptr;
  DType dtype = DType::bf16, weight_dtype = DType::bf16;
  Provenance provenance = Provenance::analytic;
  KernelClass::Dims shape{};  ///< one of the cell's shapes: one with more than half its time, if there is one
  KernelClass::Dims low{}, high{};  ///< the range of the cell's shapes
  double seconds = 0;
  double error = 0;  ///< expected: one standard deviation of log(predicted / measured)
};

/// What a workload needs of one kernel class.
struct ClassCoverage {
  struct Dim {
    std::string_view name;
    double low = 0, high = 0;  ///< 1st and 99th percentile by time, outwards to the shapes of their cells
  };
  const KernelClass* cls = nullptr;
  double seconds = 0;
  std::array<double, kProvenanceCount> by_provenance{};  ///< seconds
  double error = 0;                                      ///< as ShapeCell's, averaged over time
  std::vector<std::string> formats;                      ///< "bf16", "bf16 x int4": arithmetic x stored
  std::vector<Dim> needed;
  std::vector<CalibratedRange> ranges;  ///< of the rows behind its prices
};

/// Which regions of shape space a workload needs, and where the times there come from.
struct Coverage {
  std::vector<ClassCoverage> classes;                    ///< most time first
  std::vector<ShapeCell> cells;                          ///< most worth measuring first: seconds x error
  std::array<double, kProvenanceCount> by_provenance{};  ///< seconds
  double kernel_seconds = 0;                             ///< of all classes
  double step_seconds = 0;                               ///< what the steps took, host time included
  std::int64_t steps = 0;

  double share(double seconds) const { return kernel_seconds > 0 ? seconds / kernel_seconds : 0; }
  /// Share of kernel time whose shapes were measured, or lie between measured or fitted ones.
  double calibrated_share() const {
    return share(by_provenance[static_cast<std::size_t>(Provenance::measured)] +
                 by_provenance[static_cast<std::size_t>(Provenance::interpolated)]);
  }
  /// The first `n` cells that are not measured yet.
  std::vector<ShapeCell> wanted(std::size_t n) const;
};

/// Sums kernel time over cells of shape space. Memory grows with the cells that are met, not with the calls.
class ShapeHistogram {
 public:
  void add(const KernelCall& call, Provenance provenance, double seconds);
  /// Cells and classes; times of steps are left 0.
  Coverage coverage(const KernelCostModel& cost) const;

 private:
  struct Key {
    const KernelClass* cls;
    DType dtype, weight_dtype;
    Provenance provenance;
    std::array<std::int16_t, 8> bins;
    auto operator<=>(const Key&) const = default;
  };
  struct Cell {
    ShapeCell sum;
    double lead = 0;  ///< seconds by which `sum.shape` leads the others (Boyer and Moore's majority vote)
  };
  std::map<Key, Cell> cells_;
};

/// Observes a simulation and gathers the shapes that its prices rest on: the points at which the pricer asks
/// for kernel times (steps between two of them count for both, by their distance), so that measuring those
/// shapes makes the prediction a measured one. Attention windows are applied to the mean context.
class CoverageRecorder final : public Observer {
 public:
  /// `pricer`: of every replica of the simulation.
  explicit CoverageRecorder(std::shared_ptr<const StepPricer> pricer);
  void on_decode_run(const DecodeRun& run) override;
  void on_mixed_step(const MixedStep& step) override;
  Coverage coverage() const;

 private:
  void count_tokens(std::int64_t tokens, bool has_prefill, double steps);
  void count_rows(std::int64_t rows, double steps);
  void count_context(std::int64_t seqs, Tokens context, std::int64_t steps);
  void add(const BatchShape& shape, KernelClass::Scaling scaling, double steps, ShapeHistogram& out) const;
  BatchShape decode_shape(std::int64_t seqs, Tokens mean_context) const;

  std::shared_ptr<const StepPricer> pricer_;
  StepKernels kernels_;
  std::vector<KeyCap> caps_;
  ContextGrid grid_;
  std::vector<double> tokens_, rows_;        ///< steps, by their number
  std::vector<std::vector<double>> decode_;  ///< steps, by sequences and knot of their mean context
  ShapeHistogram prefill_;
  BatchShape chunks_;  ///< reused
  double step_seconds_ = 0;
  std::int64_t steps_ = 0;
};

/// Shapes to measure: for each class a line "# class: NAME", a line of columns (the class's dimensions,
/// dtype, weight_dtype, weight) and its rows, as in a measured table without times. `weight`: the cell's
/// share of kernel time. `about`: the comment on the first line.
std::string shapes_csv(const Coverage& coverage, const std::vector<ShapeCell>& shapes,
                       const std::string& about);

/// All of it: shares of kernel time, the shapes given as "wanted", and every cell with its range.
OrderedJson to_json(const Coverage& coverage, const std::vector<ShapeCell>& shapes);

}  // namespace orrery
