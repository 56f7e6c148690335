#include "cost/intervals.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

/// GEMM 4% (twice that extrapolated), attention 10%, everything else exact.
class KnownErrors final : public KernelCostModel {
 public:
  KernelTime price(const KernelCall&) const override { return {}; }
  ClassError error(const KernelClass& cls, Provenance provenance) const override {
    const double wider = provenance == Provenance::extrapolated ? 2 : 1;
    return {0, 0, &cls == &kGemm ? 0.04 * wider : &cls == &kAttentionDecode ? 0.10 : 0.0};
  }
  std::vector<std::string> sources() const override { return {}; }
};

TimeShares seconds(double gemm, double gemm_extrapolated, double attention, double host) {
  TimeShares s;
  s.by_class_provenance[{"gemm", Provenance::interpolated}] = gemm;
  s.by_class_provenance[{"gemm", Provenance::extrapolated}] = gemm_extrapolated;
  s.by_class_provenance[{"attention_decode", Provenance::interpolated}] = attention;
  s.host = host;
  return s;
}

}  // namespace

TEST_CASE("how uncertain is a step, given where its time goes?") {
  const KnownErrors cost;
  SECTION("one class alone: its own error") {
    CHECK(relative_sigma(seconds(3, 0, 0, 0), cost, 0) == Approx(0.04));
  }
  SECTION("host time dilutes it") {
    CHECK(relative_sigma(seconds(1, 0, 0, 1), cost, 0) == Approx(0.02));
  }
  SECTION("residuals of one class add, whatever their provenance") {
    CHECK(relative_sigma(seconds(1, 1, 0, 0), cost, 0) == Approx(0.5 * 0.04 + 0.5 * 0.08));
  }
  SECTION("classes and the engine are independent") {
    CHECK(relative_sigma(seconds(1, 0, 1, 0), cost, 0.03) ==
          Approx(std::hypot(0.5 * 0.04, 0.5 * 0.10, 0.03)));
  }
  SECTION("nothing accounted leaves the engine's") {
    CHECK(relative_sigma(TimeShares{}, cost, 0.03) == Approx(0.03));
  }
}

TEST_CASE("which measurements would narrow the interval?") {
  const auto part = variance_by_provenance(seconds(1, 1, 0, 0), KnownErrors{});
  CHECK(part[static_cast<std::size_t>(Provenance::interpolated)] == Approx(1.0 / 3));
  CHECK(part[static_cast<std::size_t>(Provenance::extrapolated)] == Approx(2.0 / 3));
  CHECK(variance_by_provenance(seconds(0, 0, 0, 1), KnownErrors{})[0] == 0);
}

TEST_CASE("how wide is a central interval of a normal?") {
  CHECK(two_sided_z(0.9) == Approx(1.6448536));  // tables of the normal distribution
  CHECK(two_sided_z(0.5) == Approx(0.6744898));
  CHECK_THROWS_AS(two_sided_z(1), InternalError);
}
