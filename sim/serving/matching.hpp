#pragma once

#include <vector>

namespace orrery {

/// Weights of pairing each row with each column, row by row; no fewer columns than rows.
struct PairWeights {
  int rows = 0, columns = 0;
  std::vector<double> weights;
  double at(int row, int column) const {
    return weights[static_cast<std::size_t>(row) * static_cast<std::size_t>(columns) +
                   static_cast<std::size_t>(column)];
  }
};

/// The column of each row in a matching of the greatest total weight, in which each column is taken at most
/// once: Kuhn and Munkres' algorithm with potentials, in rows^2 columns steps.
std::vector<int> heaviest_matching(const PairWeights& pairs);

}  // namespace orrery
