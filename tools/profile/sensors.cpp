#include "sensors.hpp"

#include <algorithm>
#include <array>

#include <dlfcn.h>

namespace orrery::profile {

namespace {

constexpr double kClockTolerance = 0.95;

// Prototypes and values of nvml.h (NVIDIA Management Library API reference), which the CUDA toolkit does not
// always ship. Every function returns 0 for success.
using Device = struct nvmlDevice*;
constexpr int kClockSm = 1, kClockMemory = 2, kTemperatureGpu = 0;
constexpr unsigned long long kReasonIdle = 0x1, kReasonHardwareSlowdown = 0x8, kReasonSoftwareThermal = 0x20,
                             kReasonHardwareThermal = 0x40, kReasonPowerBrake = 0x80;

class NoSensors final : public Sensors {
 public:
  Readings read() override { return {}; }
  std::string driver_version() override { return {}; }
};

class Nvml final : public Sensors {
 public:
  explicit Nvml(const std::string& pci_bus_id)
      : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) return;
    load(init_, "nvmlInit_v2"), load(shutdown_, "nvmlShutdown");
    load(by_address_, "nvmlDeviceGetHandleByPciBusId_v2"), load(driver_, "nvmlSystemGetDriverVersion");
    load(power_, "nvmlDeviceGetPowerUsage"), load(clock_, "nvmlDeviceGetClockInfo");
    load(temperature_, "nvmlDeviceGetTemperature"), load(energy_, "nvmlDeviceGetTotalEnergyConsumption");
    load(reasons_, "nvmlDeviceGetCurrentClocksThrottleReasons");
    started_ = init_ != nullptr && init_() == 0;
    if (!started_ || by_address_ == nullptr || by_address_(pci_bus_id.c_str(), &device_) != 0)
      device_ = nullptr;
  }
  ~Nvml() override {
    if (started_ && shutdown_ != nullptr) shutdown_();
    if (library_ != nullptr) ::dlclose(library_);
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  bool started() const { return started_; }

  Readings read() override {
    Readings r;
    if (device_ == nullptr) return r;
    unsigned value = 0;
    unsigned long long wide = 0;
    if (power_ != nullptr && power_(device_, &value) == 0) r.power_w = value * 1e-3;
    if (clock_ != nullptr && clock_(device_, kClockSm, &value) == 0) r.sm_mhz = value;
    if (clock_ != nullptr && clock_(device_, kClockMemory, &value) == 0) r.mem_mhz = value;
    if (temperature_ != nullptr && temperature_(device_, kTemperatureGpu, &value) == 0)
      r.temperature_c = value;
    if (energy_ != nullptr && energy_(device_, &wide) == 0) r.energy_j = static_cast<double>(wide) * 1e-3;
    if (reasons_ != nullptr && reasons_(device_, &wide) == 0) {
      r.idle = (wide & kReasonIdle) != 0;
      r.slowed_down = (wide & (kReasonHardwareSlowdown | kReasonSoftwareThermal | kReasonHardwareThermal |
                               kReasonPowerBrake)) != 0;
    }
    return r;
  }

  std::string driver_version() override {
    std::array<char, 96> text{};
    if (driver_ == nullptr || driver_(text.data(), static_cast<unsigned>(text.size())) != 0) return {};
    return text.data();
  }

 private:
  template <class Function>
  void load(Function& to, const char* symbol) {
    to = reinterpret_cast<Function>(::dlsym(library_, symbol));
  }

  void* library_;
  bool started_ = false;
  Device device_ = nullptr;
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*by_address_)(const char*, Device*) = nullptr;
  int (*driver_)(char*, unsigned) = nullptr;
  int (*power_)(Device, unsigned* milliwatts) = nullptr;
  int (*clock_)(Device, int which, unsigned* mhz) = nullptr;
  int (*temperature_)(Device, int sensor, unsigned* celsius) = nullptr;
  int (*energy_)(Device, unsigned long long* millijoules) = nullptr;
  int (*reasons_)(Device, unsigned long long* bits) = nullptr;
};

}  // namespace

std::unique_ptr<Sensors> make_sensors(const std::string& pci_bus_id) {
  auto nvml = std::make_unique<Nvml>(pci_bus_id);
  if (nvml->started()) return nvml;
  return std::make_unique<NoSensors>();
}

bool ThrottleGuard::throttled(const Readings& r) {
  if (r.slowed_down) return true;
  if (!r.sm_mhz || r.idle) return false;
  highest_mhz_ = std::max(highest_mhz_, *r.sm_mhz);
  return *r.sm_mhz < kClockTolerance * highest_mhz_;
}

}  // namespace orrery::profile
