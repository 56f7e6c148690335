#include "bench.hpp"

#include <catch2/catch.hpp>

#include "provenance.hpp"

using namespace orrery::profile;

namespace {

Readings clock_at(double mhz) {
  Readings r;
  r.sm_mhz = mhz;
  return r;
}

std::pair<double, Readings> energy(double second, double joules) {
  Readings r;
  r.energy_j = joules, r.power_w = 1;
  return {second, r};
}

}  // namespace

TEST_CASE("are samples at a clock over 5% under the highest seen thrown away?", "[profile]") {
  ThrottleGuard guard;
  CHECK_FALSE(guard.throttled(clock_at(1500)));
  CHECK_FALSE(guard.throttled(clock_at(1980)));
  CHECK_FALSE(guard.throttled(clock_at(1881)));
  CHECK(guard.throttled(clock_at(1880)));
  CHECK_FALSE(guard.throttled({}));  // no sensors: nothing to hold against it
  Readings idle = clock_at(345);
  idle.idle = true;
  CHECK_FALSE(guard.throttled(idle));
  Readings hot = clock_at(1980);
  hot.slowed_down = true;
  CHECK(guard.throttled(hot));
}

TEST_CASE("is power taken between two steps of the energy counter?", "[profile]") {
  // The counter steps at 0.1, 0.2 and 0.3 s, by 70 J each: 700 W, whatever the window's ends.
  const auto watts = mean_power({energy(0.05, 0), energy(0.1, 70), energy(0.15, 70), energy(0.2, 140),
                                 energy(0.3, 210), energy(0.34, 210)});
  REQUIRE(watts);
  CHECK(*watts == Approx(700));
  CHECK(mean_power({energy(0.1, 5), energy(0.2, 5)}) == 1.0);  // never stepped: the power readings
  CHECK_FALSE(mean_power({}));
}

TEST_CASE("is a GPU found among the profiles by name, size and number of SMs?", "[profile]") {
  const auto found = [](const std::string& name, int sms, double gib) {
    orrery::kernels::DeviceInfo info;
    info.name = name, info.sm_count = sms;
    info.memory_bytes = static_cast<std::size_t>(gib * (1 << 30));
    const auto profile = profile_of(info);
    return profile ? profile->name : std::string();
  };
  CHECK(found("NVIDIA H200", 132, 139.8) == "h200-sxm");
  CHECK(found("NVIDIA H100 80GB HBM3", 132, 79.1) == "h100-sxm");
  CHECK(found("NVIDIA H100 PCIe", 114, 79.1) == "h100-pcie");
  CHECK(found("NVIDIA A100-SXM4-80GB", 108, 79.25) == "a100-sxm-80g");
  CHECK(found("NVIDIA A100 80GB PCIe", 108, 79.25) == "a100-pcie-80g");
  CHECK(found("NVIDIA L40S", 142, 44.4) == "l40s");
  CHECK(found("NVIDIA GeForce RTX 4090", 128, 23.6) == "rtx-4090");
  CHECK(found("NVIDIA H200", 66, 69) == "");  // half of one
  CHECK(found("NVIDIA T1000", 14, 4) == "");
}
