#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace orrery {

/// Weights over positive values in bins of equal relative width: 1024 per octave, cut from the exponent and
/// the leading ten mantissa bits of the double, so that a bin's middle is within 0.05% of all in it. Integers
/// up to 1024 fall on the lower edge of a bin of their own. Values below 2^kMinExponent share bin 0.
template <class Weight, int kMinExponent>
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

  void add_to_bin(std::size_t bin, Weight weight) {
    if (bin >= bins_.size()) bins_.resize(std::max(bin + 1, bins_.size() * 2));
    bins_[bin] += weight;
    total_ += weight;
  }
  void add(double value, Weight weight) { add_to_bin(bin_of(value), weight); }

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
  static constexpr int kShift = 42;
  static constexpr std::uint64_t kBase = static_cast<std::uint64_t>(1023 + kMinExponent) << 10;
  static double lowest() { return std::bit_cast<double>(kBase << kShift); }

  std::vector<Weight> bins_;
  Weight total_{};
};

}  // namespace orrery
