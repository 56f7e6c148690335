#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace orrery::kernels::emulator {

/// Cooperative threads of one kernel block, their stacks kept from block to block. Not re-entrant.
class Fibers {
 public:
  Fibers();
  ~Fibers();
  /// Prepares `count` fibers, each to run entry(its number) when first resumed.
  void start(std::size_t count, std::function<void(std::size_t)> entry);
  /// Runs fiber i until it yields or ends. An exception it throws is thrown again here.
  void resume(std::size_t i);
  /// Back to who resumed.
  void yield();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The process's fibers.
Fibers& fibers();

}  // namespace orrery::kernels::emulator
