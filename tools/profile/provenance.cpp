#include "provenance.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>

#include "revision.hpp"
#include "table_row.hpp"

namespace orrery::profile {

namespace {

constexpr double kMemoryTolerance =
    0.06;  // profiles say what a driver reports; ECC and reserves differ a little

std::string cuda_version(int v) {
  return fmt::format("{}.{}", v / 1000, v % 1000 / 10);
}

std::string host_kernel() {
  utsname host{};
  if (::uname(&host) != 0) return "unknown";
  return fmt::format("{} {} {}", host.sysname, host.release, host.machine);
}

/// How well a profile's words ("h100", "sxm") fit the driver's name of the device ("NVIDIA H100 80GB HBM3"):
/// 0 = the first does not occur.
int words_in(const DeviceProfile& profile, const std::string& device_slug) {
  const auto in_name = [&](const std::string& word) {
    const auto words = split_cells(device_slug, '-');
    return std::any_of(words.begin(), words.end(), [&](const std::string& w) {
      // "a100-sxm4-80gb" has "sxm" and "80g": a digit or unit may follow
      return w == word || (w.rfind(word, 0) == 0 && w.size() == word.size() + 1);
    });
  };
  const auto words = split_cells(profile.name, '-');
  bool model = false;
  int found = 0;
  for (const auto& word : words) {
    if (!in_name(word)) continue;
    ++found;
    model |= word.size() >= 2 &&
             std::any_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c); });
  }
  return model ? found : 0;
}

}  // namespace

std::string slug(const std::string& name) {
  std::string out;
  for (const unsigned char c : name) {
    if (std::isalnum(c) != 0) {
      out += static_cast<char>(std::tolower(c));
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

std::string provenance_line(const kernels::DeviceInfo& device, const Readings& clocks,
                            const std::string& driver, std::string_view timer) {
  std::string text = fmt::format("device {} ({} SMs, compute {}.{})", device.name, device.sm_count,
                                 device.cc_major, device.cc_minor);
  text += fmt::format(", driver {}, CUDA driver {}, runtime {}", driver.empty() ? "unknown" : driver,
                      cuda_version(device.driver), cuda_version(device.runtime));
  if (clocks.sm_mhz && clocks.mem_mhz) {
    text += fmt::format(", clocks SM {:.0f} memory {:.0f} MHz under load", *clocks.sm_mhz, *clocks.mem_mhz);
  }
  text += fmt::format(", host {}, git {}, {:%Y-%m-%dT%H:%MZ}", host_kernel(), kRevision,
                      fmt::gmtime(std::time(nullptr)));
  return text + fmt::format(", timer: {}, time_s with a cold L2", timer);
}

std::optional<DeviceProfile> profile_of(const kernels::DeviceInfo& device) {
  std::optional<DeviceProfile> best;
  int best_words = 0;
  const std::string name = slug(device.name);
  const double memory = static_cast<double>(device.memory_bytes);
  for (auto& profile : list_devices()) {
    const int words = words_in(profile, name);
    const bool same_chip = profile.sm_count == device.sm_count &&
                           std::abs(profile.memory_bytes - memory) <= kMemoryTolerance * memory;
    if (same_chip && words > best_words) best_words = words, best = std::move(profile);
  }
  return best;
}

}  // namespace orrery::profile
