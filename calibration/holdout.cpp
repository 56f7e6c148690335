#include "calibration/holdout.hpp"

#include <bit>
#include <initializer_list>
#include <set>
#include <span>

namespace orrery::calibrate {

namespace {
/// splitmix64 (Steele, Lea and Flood, 2014) over the values.
std::uint64_t hash(std::span<const double> values, std::uint64_t seed) {
  std::uint64_t h = seed;
  for (const double v : values) {
    h += std::bit_cast<std::uint64_t>(v) + 0x9e3779b97f4a7c15ULL;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
    h ^= h >> 31;
  }
  return h;
}

constexpr std::uint64_t kRowSeed = 1, kShapeSeed = 2;
std::uint64_t hash(std::initializer_list<double> values, std::uint64_t seed) {
  return hash(std::span<const double>(values.begin(), values.size()), seed);
}
bool held_row(std::initializer_list<double> values) {
  return hash(values, kRowSeed) % 5 == 0;
}
bool held_shape(std::initializer_list<double> values) {
  return hash(values, kShapeSeed) % 12 == 0;
}
}  // namespace

Use use_of(const GemmRow& r) {
  if (held_shape({r.n, r.k})) return Use::held_shape;
  return held_row({static_cast<double>(r.dtype), r.m, r.n, r.k}) ? Use::held_row : Use::fit;
}

Use use_of(const AttentionRow& r, bool decode) {
  if (held_shape({r.heads, r.kv_heads, r.head_dim})) return Use::held_shape;
  if (r.dims) return hash(*r.dims, kRowSeed) % 5 == 0 ? Use::held_row : Use::fit;
  return held_row({decode ? 1.0 : 0.0, r.batch, r.length, r.heads, r.kv_heads, r.head_dim, r.window})
             ? Use::held_row
             : Use::fit;
}

int fold_of(const CollectiveRow& r) {
  return static_cast<int>(hash({static_cast<double>(r.kernel_class.size()), r.ranks, r.bytes}, kRowSeed) %
                          kFolds);
}

Use use_of(const RowKernelRow& r) {
  return held_row({r.bytes}) ? Use::held_row : Use::fit;
}

namespace {
template <class Row, class DimsOf>
std::vector<Use> uses_by(const std::vector<Row>& rows, DimsOf dims_of) {
  constexpr std::size_t kFewestShapes = 6;
  const auto shape = [&](const Row& r) { return std::span(dims_of(r)).subspan(1); };
  std::set<std::vector<double>> shapes;
  for (const auto& r : rows) shapes.insert({shape(r).begin(), shape(r).end()});
  std::vector<Use> out;
  for (const auto& r : rows) {
    const bool with_shape = shapes.size() >= kFewestShapes && hash(shape(r), kShapeSeed) % 12 == 0;
    const bool alone = hash(dims_of(r), kRowSeed) % 5 == 0;
    out.push_back(with_shape ? Use::held_shape : alone ? Use::held_row : Use::fit);
  }
  return out;
}
}  // namespace

std::vector<Use> uses_of(const std::vector<GenericRow>& rows) {
  return uses_by(rows, [](const GenericRow& r) -> const KernelClass::Dims& { return r.dims; });
}
std::vector<Use> uses_of(const std::vector<LayerRow>& rows) {
  return uses_by(rows, [](const LayerRow& r) -> const KernelClass::Dims& { return r.shape; });
}

}  // namespace orrery::calibrate
