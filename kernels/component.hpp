#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/registry.hpp"
#include "ops/kernel_call.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// One shape of one implementation of a kernel class: what is checked, measured, and becomes a row of a
/// measured table.
struct Case {
  KernelCall call;      ///< class, dimensions, formats and Work, from sim/ops
  std::string variant;  ///< the implementation, a column of the table: "cublaslt", "flat", "paged16"
  /// What the class's dimensions leave open, by name: past = 4096, block_size = 16, ragged = 1.
  std::map<std::string, std::int64_t> with;
  std::uint64_t seed = 1;

  std::int64_t option(const std::string& name, std::int64_t otherwise) const {
    const auto it = with.find(name);
    return it == with.end() ? otherwise : it->second;
  }
};
/// "gemm bf16/int4 m=16 n=4096 k=4096 [flat]"
std::string describe(const Case& c);

/// How far a kernel's output is from its reference in double precision: ||out - reference|| / ||reference||.
struct Check {
  double error = 0;      ///< NaN and unwritten elements count as infinite
  double tolerance = 0;  ///< what rounding of the formats explains, with some room
  bool passed() const { return error <= tolerance; }
};
Check compare(std::span<const double> out, std::span<const double> reference, double tolerance);

/// What a time is taken of.
enum class Timing : std::uint8_t {
  kernels,  ///< the sum of the durations of the launch's kernels (and memsets), gaps left out
  copies,   ///< the same of its memory copies
  span,     ///< from the first record's start to the last one's end: several streams or dependent launches
  own,      ///< Instance::measure() says: launch cost, host work
};

/// A case with its memory on the device, inputs random and outputs poisoned.
class Instance {
 public:
  virtual ~Instance() = default;
  /// Enqueues one execution: no allocation, no synchronisation, fit to be captured into a graph.
  virtual void launch(StreamRef stream) = 0;
  /// Compares the outputs of the latest launch (waits for it) with a double-precision reference on the CPU.
  /// Small cases.
  virtual Check check() = 0;
  /// Timing::own only: seconds of one execution, by the instance's own clock.
  virtual double measure() { return 0; }
};

/// One architecture component: its implementations of a kernel class (or a few that belong together), the
/// shapes it is measured on and the small ones it is checked on. One per file of kernels/, ending in a
/// Registration<Components>.
class Component {
 public:
  virtual ~Component() = default;
  virtual std::string_view source() const = 0;  ///< the paper, section or library it follows
  virtual Timing timing(const Case&) const { return Timing::kernels; }
  /// Shapes to measure, those that matter most first: a budget may end anywhere.
  virtual std::vector<Case> sweep(const DeviceInfo& device) const = 0;
  /// Small shapes with every edge (one below, at and above a tile; ragged; every format and option) for
  /// check().
  virtual std::vector<Case> checks() const = 0;
  /// The cases (one per variant) that measure this call; empty when the component cannot. Serves shapes asked
  /// for by name.
  virtual std::vector<Case> cases_of(const KernelCall& call) const = 0;
  /// A sentence why this case cannot run on this device (compute capability, memory); nullopt = it can.
  virtual std::optional<std::string> unsupported(const Case&, const DeviceInfo&) const {
    return std::nullopt;
  }
  /// Errors: DeviceError (out of memory).
  virtual std::unique_ptr<Instance> make(const Case& c) const = 0;
};

/// Registry kind: "gemm", "attention_prefill", ... The factory is the component itself.
struct Components {
  static constexpr const char* kind = "kernel component";
  using Factory = const Component*;
};

}  // namespace orrery::kernels
