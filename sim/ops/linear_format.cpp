#include "ops/linear_format.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/operator.hpp"

namespace orrery {

std::optional<WeightScales> usual_scales(DType format) {
  switch (format) {
    case DType::int4:
      return WeightScales{128, 1, 16, false};
    case DType::fp4:
      return WeightScales{16, 1, 8, false};
    case DType::fp8:
    case DType::int8:
      return WeightScales{0, 1, 32, false};
    default:
      return std::nullopt;
  }
}

WeightScales mx_scales() {
  return {32, 1, 8, false};
}
WeightScales block128_scales() {
  return {128, 128, 32, false};
}
WeightScales double_quantised_scales() {
  return {64, 1, 8 + 32.0 / 256, false};
}

bool LinearFormat::factored(double k, double n) const {
  return rank > 0 && static_cast<double>(rank) < std::min(k, n);
}

double outlier_rows(const LinearFormat& format, double k) {
  return std::round(format.outliers * k);
}

namespace {

/// Elements, of which `rows` of k are stored, and the scales of those.
double elements_and_scales(const LinearFormat& f, double rows, double n) {
  const double bits = f.bits > 0 ? f.bits : 8 * bytes_per_element(f.weight);
  const double elements = rows * n * bits / 8;
  const auto scales = f.scales ? f.scales : usual_scales(f.weight);
  if (!scales) return elements;
  const double along_k = scales->rows == 0 ? 1 : std::ceil(rows / static_cast<double>(scales->rows));
  const double blocks = along_k * std::ceil(n / static_cast<double>(scales->columns));
  return elements + blocks * (scales->bits + (scales->zero_points ? bits : 0)) / 8;
}

/// One matrix, its zeros left out where the format does. An index tells which of `of` neighbours was kept.
double matrix_bytes(const LinearFormat& f, double k, double n) {
  const Sparsity& s = f.sparsity;
  if (s.keep < s.of) {
    const double kept = k * s.keep / s.of;
    const auto index_bits = static_cast<int>(std::bit_width(static_cast<unsigned>(s.of - 1)));
    return elements_and_scales(f, kept, n) + kept * n * index_bits / 8;
  }
  if (s.bitmap) return elements_and_scales(f, k * (1 - s.zeros), n) + k * n / 8;
  return elements_and_scales(f, k, n);
}

[[noreturn]] void refuse(const char* field, const std::string& value, const char* valid) {
  throw ConfigError(fmt::format("compression: {} {} is not possible", field, value), valid);
}

}  // namespace

double stored_matrix_bytes(const LinearFormat& format, double k, double n) {
  const auto adapter = static_cast<double>(format.adapter_rank), rank = static_cast<double>(format.rank);
  const double beside = adapter * (k + n) * 2;
  if (format.factored(k, n)) return matrix_bytes(format, k, rank) + matrix_bytes(format, rank, n) + beside;
  const double outliers = outlier_rows(format, k);
  return matrix_bytes(format, k - outliers, n) + outliers * n * 2 + beside;
}

double stored_matrix_bytes(DType format, double k, double n) {
  LinearFormat plain;
  plain.weight = format;
  return stored_matrix_bytes(plain, k, n);
}

void LinearFormat::check() const {
  const double most = 8 * bytes_per_element(weight);
  if (!(bits >= 0 && bits <= most))
    refuse("bits", fmt::format("{} of {}", bits, name(weight)), "valid: 0 (all) up to the bits of 'weight'");
  if (!(outliers >= 0 && outliers < 1))
    refuse("outliers", fmt::to_string(outliers), "valid: 0 up to below 1");
  if (!(sparsity.zeros >= 0 && sparsity.zeros < 1))
    refuse("sparsity.zeros", fmt::to_string(sparsity.zeros), "valid: 0 up to below 1");
  if (sparsity.of != 0 && !(sparsity.keep >= 1 && sparsity.keep <= sparsity.of && sparsity.of <= 64))
    refuse("sparsity.keep", fmt::format("{} of {}", sparsity.keep, sparsity.of), "valid: 1:1 up to 64:64");
  if (sparsity.of != 0 && sparsity.zeros > 0)
    refuse("sparsity.zeros", fmt::to_string(sparsity.zeros), "valid beside 'of': 0");
  if (rank < 0 || adapter_rank < 0)
    refuse(rank < 0 ? "rank" : "adapter_rank", "below 0", "valid: 0 and above");
  if (rank > 0 && (outliers > 0 || sparsity != Sparsity{}))
    refuse("rank", fmt::to_string(rank), "valid beside outliers or sparsity: 0");
  if (scales && !(scales->rows >= 0 && scales->columns >= 1 && scales->bits >= 0))
    refuse("scales", fmt::format("per {} x {}", scales->rows, scales->columns),
           "valid: rows 0 (a column) and above, columns 1 and above");
}

void Precision::set_linear(const LinearFormat& format) {
  weight = format.weight, compute = format.compute;
  LinearFormat plain;
  plain.weight = weight, plain.compute = compute;
  apart = {};
  if (format == plain) return;
  for (const Module module : {Module::mixer, Module::ffn, Module::experts}) of(module) = format;
}

}  // namespace orrery
