#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cost/step_kernels.hpp"
#include "cost/step_pricer.hpp"

namespace orrery {

/// Device seconds by kernel class and provenance; classes are numbered as they are met.
class ClassAccount {
 public:
  void add(const KernelClass& cls, Provenance provenance, double seconds);
  void add(const ClassAccount& other);
  void add_to(TimeShares& shares) const;

 private:
  struct Row {
    const KernelClass* cls;
    std::array<double, kProvenanceCount> seconds{};
  };
  std::vector<Row> rows_;  // about ten: a linear search is the fastest
};

/// Price of all kernels of one scaling at one shape, and where its split is kept. ps < 0: not evaluated yet.
struct StepPart {
  std::int64_t ps = -1;
  std::uint32_t first = 0, count = 0;
};

/// Evaluates parts of a step and keeps how each splits over classes, so that accounting is a count per part.
class StepParts {
 public:
  explicit StepParts(const StepKernels& kernels) : kernels_(&kernels) {}
  StepPart evaluate(const BatchShape& batch, KernelClass::Scaling only);
  /// The kernels that run on the tokens of all data-parallel ranks, `batch` being one rank's.
  StepPart evaluate_pooled(const BatchShape& batch);
  /// Adds `times` executions of the part.
  void account(const StepPart& part, double times, ClassAccount& out) const;

 private:
  struct Share {
    const KernelClass* cls;
    Provenance provenance;
    double seconds;
  };
  StepPart price_calls();

  const StepKernels* kernels_;
  std::vector<Share> shares_;
  KernelCalls calls_;  ///< reused
};

/// Time of the kernels that run on the step's tokens, by their (padded) number; `pooled`: of those among them
/// that run on all data-parallel ranks' tokens, by the number of one rank on average. Up to 512 tokens each
/// count has its own price. Above, prices are affine between the ends of spans of 64 (513..576, 577..640,
/// ...): tiles of matrix kernels are multiples of 64 high, so the jumps of wave quantisation fall between
/// spans, and a trace with thousands of distinct counts needs a few hundred evaluations.
class TokenTable {
 public:
  explicit TokenTable(StepParts& parts, bool pooled = false) : parts_(&parts), pooled_(pooled) {}

  /// The token counts whose prices make that of `tokens`: low (1 - weight) + high weight.
  struct Ends {
    std::int64_t low = 0, high = 0;
    double weight = 0;
  };
  static Ends ends(std::int64_t tokens);

  std::int64_t ps(std::int64_t tokens);
  void count(std::int64_t tokens, double steps);  ///< of a price asked for before
  void account(ClassAccount& out) const;

 private:
  static constexpr std::int64_t kExact = 512, kSpan = 64;
  struct Exact {
    StepPart part;
    double steps = 0;
  };
  struct Span {
    StepPart low, high;
    double low_steps = 0, high_steps = 0;
  };
  Span& span(std::int64_t tokens);
  StepPart evaluate(std::int64_t tokens);

  StepParts* parts_;
  bool pooled_;
  std::vector<Exact> exact_;
  std::vector<Span> spans_;
};

/// Time of the kernels that run on the rows whose logits are computed, by their number.
class RowTable {
 public:
  RowTable(StepParts& parts, std::size_t windows) : parts_(&parts) {
    shape_.windowed_context.resize(windows);
  }
  std::int64_t ps(std::int64_t rows);
  void count(std::int64_t rows, double steps);  ///< of a price asked for before
  void account(ClassAccount& out) const;

 private:
  struct Row {
    StepPart part;
    double steps = 0;
  };
  StepParts* parts_;
  std::vector<Row> rows_;
  BatchShape shape_;  ///< reused
};

}  // namespace orrery
