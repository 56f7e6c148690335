#include "serving/matching.hpp"

#include <limits>

#include "base/error.hpp"

namespace orrery {
namespace {

/// Rows are matched one by one along shortest augmenting paths over reduced costs (costs are weights
/// negated). Column 0 and row 0 stand for "none": indices count from 1.
class Matching {
 public:
  explicit Matching(const PairWeights& pairs)
      : pairs_(pairs),
        row_potential_(size(pairs.rows)),
        column_potential_(size(pairs.columns)),
        row_of_(size(pairs.columns)),
        way_(size(pairs.columns)) {}

  void add_row(int row) {
    row_of_[0] = row;
    std::vector<double> distance(size(pairs_.columns), std::numeric_limits<double>::infinity());
    std::vector<bool> done(size(pairs_.columns));
    std::size_t at = 0;
    while (row_of_[at] != 0) at = step(at, distance, done);
    while (at != 0) {  // turns the path round
      row_of_[at] = row_of_[way_[at]];
      at = way_[at];
    }
  }
  std::vector<int> columns() const {
    std::vector<int> out(static_cast<std::size_t>(pairs_.rows));
    for (std::size_t c = 1; c < row_of_.size(); ++c) {
      if (row_of_[c] != 0) out[static_cast<std::size_t>(row_of_[c] - 1)] = static_cast<int>(c - 1);
    }
    return out;
  }

 private:
  static std::size_t size(int n) { return static_cast<std::size_t>(n) + 1; }

  /// Takes the column nearest to those reached, `at` being the last of them.
  std::size_t step(std::size_t at, std::vector<double>& distance, std::vector<bool>& done) {
    done[at] = true;
    const int row = row_of_[at];
    double least = std::numeric_limits<double>::infinity();
    std::size_t next = 0;
    for (std::size_t c = 1; c < done.size(); ++c) {
      if (done[c]) continue;
      const double cost = -pairs_.at(row - 1, static_cast<int>(c - 1)) -
                          row_potential_[static_cast<std::size_t>(row)] - column_potential_[c];
      if (cost < distance[c]) distance[c] = cost, way_[c] = at;
      if (distance[c] < least) least = distance[c], next = c;
    }
    for (std::size_t c = 0; c < done.size(); ++c) {
      if (done[c]) {
        row_potential_[static_cast<std::size_t>(row_of_[c])] += least;
        column_potential_[c] -= least;
      } else {
        distance[c] -= least;
      }
    }
    return next;
  }

  const PairWeights& pairs_;
  std::vector<double> row_potential_, column_potential_;
  std::vector<int> row_of_;       ///< by column
  std::vector<std::size_t> way_;  ///< by column, the one before it on the path
};

}  // namespace

std::vector<int> heaviest_matching(const PairWeights& pairs) {
  ORRERY_CHECK(pairs.rows <= pairs.columns, "more rows than columns to match them with");
  Matching matching(pairs);
  for (int row = 1; row <= pairs.rows; ++row) matching.add_row(row);
  return matching.columns();
}

}  // namespace orrery
