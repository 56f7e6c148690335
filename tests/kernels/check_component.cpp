#include <cstdio>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "component.hpp"
#ifdef ORRERY_EMULATED
#include "emulator/emulator.hpp"
#endif

// check_component NAME: runs the component's check cases against its references; exits 77 when there is no
// device to run on. check_component --list: the names of all components.

namespace {

using namespace orrery;
using namespace orrery::kernels;

#ifdef ORRERY_EMULATED
/// Every order of threads the emulator knows; under AddressSanitizer, where a case takes five times as long,
/// one.
#ifdef __SANITIZE_ADDRESS__
constexpr emulator::Order kOrders[] = {emulator::Order::shuffled};
#else
constexpr emulator::Order kOrders[] = {emulator::Order::forward, emulator::Order::reverse,
                                       emulator::Order::shuffled};
#endif
#endif

bool passes(const Component& component, const Case& c) {
  double worst = 0, tolerance = 0;
  const auto once = [&] {
    const auto instance = component.make(c);
    instance->launch(nullptr);
    const Check check = instance->check();
    if (!(check.error <= worst)) worst = check.error;
    tolerance = check.tolerance;
  };
#ifdef ORRERY_EMULATED
  for (const auto order : kOrders) {
    emulator::set_order(order);
    once();
  }
#else
  once();
#endif
  const bool good = worst <= tolerance;
  std::printf("%-8s %-90s error %.2e (tolerance %.0e)\n", good ? "ok" : "FAILED", describe(c).c_str(), worst,
              tolerance);
  return good;
}

int check(const std::string& name) {
  const Component& component = *Registry<Components>::find(name).make;
  const DeviceInfo device = device_info();
  int failed = 0;
  for (const Case& c : component.checks()) {
    if (const auto why = component.unsupported(c, device)) {
      std::printf("%-8s %-90s %s\n", "skipped", describe(c).c_str(), why->c_str());
    } else if (!passes(component, c)) {
      ++failed;
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const auto& name : Registry<Components>::names()) std::printf("%s\n", name.c_str());
    return 0;
  }
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_component NAME | --list\n");
    return 2;
  }
#ifndef ORRERY_EMULATED
  std::string why;
  if (!device_available(&why)) {
    std::printf("skipped: %s\n", why.c_str());
    return 77;
  }
#endif
  try {
    return check(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
