#include "active_sampling.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>

#include "base/quantile.hpp"

namespace orrery::profile {

namespace {

constexpr std::size_t kNeighbours = 8;
constexpr double kDetour = 1.02;       ///< a row is between two others when it lengthens their way by less
constexpr double kUnknownError = 0.1;  ///< where no row lies between two others: |log error| of a first guess
constexpr double kSmallestGap = 1;     ///< octaves

using Position = std::array<double, 8>;

struct Point {
  const TableRow* row;
  Position at{};  ///< log2(1 + dim)
  double log_time = 0;
  std::vector<std::size_t> near;  ///< the closest others, closest first
  std::optional<double> error;    ///< of predicting it from its neighbours
};

double distance(const Position& a, const Position& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

bool between(const Point& x, const Point& a, const Point& b) {
  return distance(a.at, x.at) + distance(x.at, b.at) <= kDetour * distance(a.at, b.at);
}

void find_neighbours(std::vector<Point>& points) {
  std::vector<std::size_t> order(points.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::iota(order.begin(), order.end(), 0U);
    const auto closer = [&](std::size_t a, std::size_t b) {
      const double da = distance(points[i].at, points[a].at), db = distance(points[i].at, points[b].at);
      return da < db || (da == db && a < b);
    };
    const std::size_t n = std::min(kNeighbours + 1, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(), closer);
    for (std::size_t k = 0; k < n; ++k) {
      if (order[k] != i) points[i].near.push_back(order[k]);
    }
  }
}

void leave_one_out(std::vector<Point>& points) {
  for (Point& x : points) {
    double closest = HUGE_VAL;
    for (const std::size_t i : x.near) {
      for (const std::size_t j : x.near) {
        const Point &a = points[i], &b = points[j];
        const double gap = distance(a.at, b.at);
        if (i >= j || gap >= closest || !between(x, a, b)) continue;
        const double u = distance(a.at, x.at) / gap;
        closest = gap;
        x.error = std::abs(x.log_time - (a.log_time + u * (b.log_time - a.log_time)));
      }
    }
  }
}

double typical_error(const std::vector<Point>& points) {
  std::vector<double> errors;
  for (const Point& p : points) {
    if (p.error) errors.push_back(*p.error);
  }
  std::sort(errors.begin(), errors.end());
  return errors.empty() ? kUnknownError : quantile_sorted(errors, 0.5);
}

std::optional<KernelClass::Dims> middle(const TableRow& a, const TableRow& b) {
  KernelClass::Dims dims{};
  bool moved_from_a = false, moved_from_b = false;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    dims[i] = round_between(a.dims[i], b.dims[i]).value_or(a.dims[i]);
    moved_from_a |= dims[i] != a.dims[i];
    moved_from_b |= dims[i] != b.dims[i];
  }
  if (!moved_from_a || !moved_from_b) return std::nullopt;
  return dims;
}

void add_gaps(const std::vector<Point>& points, std::vector<Candidate>& out) {
  const double typical = typical_error(points);
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (const std::size_t j : points[i].near) {
      const Point &a = points[i], &b = points[j];
      const double gap = distance(a.at, b.at);
      if (gap < kSmallestGap) continue;
      // A pair that are neighbours both ways is met twice: the one met first stands for both.
      const bool seen = j < i && std::find(b.near.begin(), b.near.end(), i) != b.near.end();
      const bool filled = std::any_of(a.near.begin(), a.near.end(), [&](std::size_t k) {
        return k != j && distance(a.at, points[k].at) < gap && between(points[k], a, b);
      });
      if (seen || filled) continue;
      if (const auto dims = middle(*a.row, *b.row)) {
        const double error = (a.error.value_or(typical) + b.error.value_or(typical)) / 2;
        out.push_back({*a.row, *dims, error * gap});
      }
    }
  }
}

bool is_power_of_two(double x) {
  int exponent = 0;
  return x > 0 && std::frexp(x, &exponent) == 0.5;
}

}  // namespace

std::optional<double> round_between(double a, double b) {
  if (a == b) return a;
  const double low = std::min(a, b), high = std::max(a, b);
  const bool whole = low == std::floor(low) && high == std::floor(high) && high < 0x1p53;
  if (low <= 0 || !whole) return std::nullopt;
  const double target = std::sqrt(low * high);
  double step = 0, round = 0;
  if (is_power_of_two(low) && is_power_of_two(high)) {
    round = std::exp2(std::floor(std::log2(target)));
  } else {
    step = static_cast<double>(std::gcd(static_cast<long long>(low), static_cast<long long>(high)));
    round = std::round(target / step) * step;
  }
  if (round <= low || round >= high) return std::nullopt;
  return round;
}

std::vector<Candidate> uncertain_gaps(const std::vector<TableRow>& rows) {
  std::map<std::string, std::vector<Point>> groups;
  for (const TableRow& row : rows) {
    if (!(row.time_s > 0)) continue;
    Point p;
    p.row = &row, p.log_time = std::log(row.time_s);
    for (std::size_t i = 0; i < p.at.size(); ++i) p.at[i] = std::log2(1 + row.dims[i]);
    std::string group = row.component + "|" + row.variant + "|";
    group += std::string(name(row.dtype)) + "|" + std::string(name(row.weight_dtype));
    groups[group].push_back(std::move(p));
  }
  std::vector<Candidate> out;
  for (auto& [name, points] : groups) {
    find_neighbours(points);
    leave_one_out(points);
    add_gaps(points, out);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Candidate& a, const Candidate& b) { return a.uncertainty > b.uncertainty; });
  return out;
}

}  // namespace orrery::profile
