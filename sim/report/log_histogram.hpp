#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace orrery {

/// Weights over positive values in bins of equal relative width: 2^kBits per octave, cut from the exponent
/// and the leading mantissa bits of the double. With 9 bits a bin's middle is within 0.1% of all in it.
/// Integers up to 2^kBits fall on the lower edge of a bin of their own. Values below 2^kMinExponent share bin
/// 0.
template <class Weight, int kMinExponent, int kBits = 9>
class LogHistogram {
 public:
  static std::size_t bin_of(double value) {
    if (!(value >= lowest())) return 0;
    return static_cast<std::size_t>((std::bit_cast<std::uint64_t>(value) >> kShift) - kBase + 1);
  }
  static double lower_edge(std::size_t bin) {
    return bin == 0 ? 0.0 : std::bit_cast<double>((bin - 1 + kBase) << kShift);
  }
  static double upper_edge(std::size_t bin) { return lower_edge(bin + 1); }
  static double middle(std::size_t bin) { return (lower_edge(bin) + upper_edge(bin)) / 2; }

  void add(double value, Weight weight) {
    const auto bin = bin_of(value);
    make_room(bin);
    bins_[bin] += weight;
    total_ += weight;
  }

  /// Adds `weight` at each of first + slope * j, j < steps: all of a bin's at once. Whole numbers below 2^53
  /// with slope >= 0 are counted exactly (their quotients round to the right side of every integer).
  void add_progression(double first, double slope, std::int64_t steps, Weight weight) {
    auto bin = bin_of(first);
    make_room(bin_of(first + slope * static_cast<double>(steps - 1)));
    total_ += weight * static_cast<Weight>(steps);
    if (slope >= upper_edge(bin) - lower_edge(bin)) {
      for (std::int64_t j = 0; j < steps; ++j)
        bins_[bin_of(first + slope * static_cast<double>(j))] += weight;
      return;
    }
    for (std::int64_t done = 0; done < steps; ++bin) {
      std::int64_t upto = steps;
      if (slope > 0) {
        const double before_edge = (upper_edge(bin) - first) / slope;
        if (before_edge < static_cast<double>(steps)) upto = round_up(before_edge);
      }
      bins_[bin] += weight * static_cast<Weight>(upto - done);
      done = upto;
    }
  }

  Weight total() const { return total_; }

  /// The bin that holds the weight at cumulative position `rank` (0 <= rank < total), and the weight before
  /// it.
  struct Place {
    std::size_t bin = 0;
    Weight before{};
  };
  Place place(Weight rank) const {
    Weight before{};
    std::size_t last = 0;
    for (std::size_t b = 0; b < bins_.size(); ++b) {
      if (bins_[b] == Weight{}) continue;
      if (before + bins_[b] > rank) return {b, before};
      before += bins_[b];
      last = b;
    }
    return {last, before};
  }

 private:
  static constexpr int kShift = 52 - kBits;
  static constexpr std::uint64_t kBase = static_cast<std::uint64_t>(1023 + kMinExponent) << kBits;
  static std::int64_t round_up(double positive) {
    const auto whole = static_cast<std::int64_t>(positive);
    return whole + (static_cast<double>(whole) < positive ? 1 : 0);
  }
  void make_room(std::size_t bin) {
    if (bin >= bins_.size()) bins_.resize(std::max(bin + 1, bins_.size() * 2));
  }
  static double lowest() { return std::bit_cast<double>(kBase << kShift); }

  std::vector<Weight> bins_;
  Weight total_{};
};

}  // namespace orrery
