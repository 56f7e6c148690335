#pragma once

#include <optional>
#include <vector>

#include "table_row.hpp"

namespace orrery::profile {

/// A shape worth measuring next: between two rows of one component, variant and format.
struct Candidate {
  TableRow like;             ///< one of the two: component, variant, options, formats
  KernelClass::Dims dims{};  ///< where, a round shape between them
  double uncertainty = 0;    ///< expected |log error| of interpolating there, times the gap in octaves
};

/// Where log-linear interpolation between the measured rows of a class is least to be trusted, most uncertain
/// first. Each row that lies between two others is predicted from the closest such pair (leave one out); the
/// error found there stands for the gaps beside it. Gaps of less than an octave are left alone.
std::vector<Candidate> uncertain_gaps(const std::vector<TableRow>& rows);

/// A round number strictly between: the power of two nearest the geometric mean when both are powers of two,
/// else the nearest multiple of what divides both. nullopt where there is none; a == b gives a.
std::optional<double> round_between(double a, double b);

}  // namespace orrery::profile
