#pragma once

#include <atomic>

namespace orrery {

/// From now on the first Ctrl-C sets the returned flag, so that a run can end early and write what it has;
/// the second kills the process.
const std::atomic<bool>& catch_interrupt();

/// Exit code of a run that was ended by Ctrl-C (128 + SIGINT, as shells report it).
inline constexpr int kInterruptedExit = 130;

}  // namespace orrery
