#pragma once

#include <memory>
#include <string>

#include "counters.hpp"
#include "meter.hpp"

namespace orrery::profile {

// What differs between the collector for GPUs (cuda/) and the one that only rehearses (emulated/).

/// Whether kernels run on the emulator, which a dry run needs.
bool can_rehearse();
/// Errors: ConfigError (no_device) with a sentence for people when nothing can be measured here.
void require_device();
/// CUPTI's timer where it starts; CUDA events elsewhere, and `note` says why.
std::unique_ptr<Meter> make_meter(std::string& note);
/// Hardware counters of this process: they may be refused, and a broken driver may crash in them.
std::unique_ptr<Counters> make_counters();
/// The same after a process of its own (--probe-counters) came through them unharmed.
std::unique_ptr<Counters> make_proven_counters();
/// Of the GPU that is measured: "0000:3b:00.0".
std::string pci_bus_id();

}  // namespace orrery::profile
