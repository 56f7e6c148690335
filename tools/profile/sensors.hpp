#pragma once

#include <memory>
#include <string>

#include "measurement.hpp"

namespace orrery::profile {

/// Clocks, power and temperature of the GPU that is measured.
class Sensors {
 public:
  virtual ~Sensors() = default;
  virtual Readings read() = 0;
  /// "580.65.06"; "" = unknown.
  virtual std::string driver_version() = 0;
};

/// NVIDIA's management library, of the GPU at this PCI address; sensors that read nothing where the library
/// or the GPU in it (a MIG slice) is missing. The library comes with the driver and is looked for at run
/// time.
std::unique_ptr<Sensors> make_sensors(const std::string& pci_bus_id);

/// Finds the clocks this GPU reaches, and tells when it stays under them.
class ThrottleGuard {
 public:
  /// Whether samples taken during these readings are to be thrown away: the SM clock was more than 5% under
  /// the highest seen in the run, or the GPU says it was slowed down.
  bool throttled(const Readings& r);
  double highest_mhz() const { return highest_mhz_; }

 private:
  double highest_mhz_ = 0;
};

}  // namespace orrery::profile
