#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "cost/step_kernels.hpp"
#include "cost/step_parts.hpp"

namespace orrery {

/// The end of a piece that has none: beyond any context, and small enough to be added to.
inline constexpr Tokens kEndless = Tokens{1} << 60;

/// Knots of mean context: 2^(j/4) rounded to integers, each once, up to the first one at or beyond `longest`.
class ContextGrid {
 public:
  explicit ContextGrid(Tokens longest);
  Tokens knot(int k) const { return knots_[static_cast<std::size_t>(k)]; }
  int segments() const { return static_cast<int>(knots_.size()) - 1; }
  /// The segment [knot(k), knot(k + 1)) that holds `mean`; the first one also below it, the last one also
  /// beyond it.
  int segment(Tokens mean) const {
    const auto value = static_cast<std::uint64_t>(mean < 1 ? 1 : mean);
    int k = start_[bucket(value)];
    while (k + 1 < segments() && static_cast<std::uint64_t>(knots_[static_cast<std::size_t>(k) + 1]) <= value)
      ++k;
    return k;
  }

 private:
  /// The position of the highest bit and the three bits after it: finer than the knots, so that `segment`
  /// looks one knot ahead at most.
  static std::size_t bucket(std::uint64_t value) {
    const auto width = static_cast<std::size_t>(std::bit_width(value));
    return width * 16 + (width > 4 ? value >> (width - 4) : value);
  }
  std::vector<Tokens> knots_;
  std::array<std::uint8_t, std::size_t{65} * 16> start_{};
};

/// Price of a group of kernels over the total context x of the sequences: base + slope (x - start), exact for
/// x < end.
struct ContextPiece {
  std::int64_t base = 0, slope = 0;  ///< ps, ps per token
  Tokens start = 0, end = 0;         ///< total context
  Provenance provenance = Provenance::analytic;
};

/// Price of a group for a decode set: `ps` now, and `rise` more with every step, exact for `steps` steps.
struct ContextPrice {
  std::int64_t ps = 0, rise = 0, steps = kEndless;
  Provenance provenance = Provenance::analytic;
};

/// Decode attention as piecewise affine functions with integer coefficients: for each size of the decode set,
/// one function of context per group of kernels that read the same context (the whole, or one window's) and
/// share a class. Sampled at the knots when first used.
class DecodeTable {
 public:
  /// `longest`: mean context up to which knots are laid; prices beyond continue the last piece. Each sequence
  /// computes `queries` tokens. `pace_steps`: slopes are multiples of it, so that sets whose pace has this
  /// many steps (or a divisor) rise by whole picoseconds.
  DecodeTable(const StepKernels& kernels, std::size_t windows, Tokens longest, std::int64_t queries = 1,
              std::int64_t pace_steps = 1);

  std::size_t groups() const { return groups_.size(); }
  const KernelClass& cls(std::size_t g) const { return *groups_[g].cls; }
  /// The context a sequence has gained in part (TokenPace::phase) counts like whole tokens.
  ContextPrice price(std::size_t g, const DecodeSet& set);
  ContextPiece piece(std::size_t g, std::int64_t seqs, Tokens context);

 private:
  struct Knot {
    std::int64_t base = -1;  ///< < 0: not evaluated
    std::int64_t slope = 0;
    bool has_slope = false;
    Provenance at = Provenance::measured, over = Provenance::measured;  ///< of the knot, of the segment
  };
  struct Group {
    int window;  ///< index of ModelSpec::caps(), -1 = the whole context
    const KernelClass* cls;
    std::vector<std::size_t> calls;        ///< positions among the calls of a decode set
    std::vector<std::vector<Knot>> knots;  ///< by number of sequences
  };
  void find_groups(std::size_t windows);
  void evaluate(const Group& group, std::int64_t seqs, int k, Knot& knot);
  void fill(const Group& group, std::int64_t seqs, int k, std::vector<Knot>& knots);

  const StepKernels* kernels_;
  ContextGrid grid_;
  std::int64_t queries_, pace_steps_;
  std::vector<Group> groups_;
  BatchShape shape_;   ///< reused
  KernelCalls calls_;  ///< reused
};

}  // namespace orrery
