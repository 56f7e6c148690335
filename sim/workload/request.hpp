#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/units.hpp"

namespace orrery {

using RequestId = std::int64_t;

/// Identities of the prompt's leading blocks, for prefix caching: equal ids mean equal tokens *and* equal
/// prefix. Each id stands for `block_tokens` tokens (Mooncake: 512); the last may be partial. Shared, never
/// changed.
struct PrefixKeys {
  std::vector<std::uint64_t> ids;
  std::int32_t block_tokens = 512;
  bool answer = false;  ///< they go on into the answer, which later prompts may begin with
};

/// What a client asks: `prompt_tokens` in, `output_tokens` out, at `arrival` (when the client sends it).
struct Request {
  RequestId id = 0;  ///< position in the source, from 0
  Ps arrival{0};
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::int32_t images = 0;  ///< at the prompt's beginning, their tokens included in prompt_tokens
  std::shared_ptr<const PrefixKeys> prefix;  ///< null = nothing shared
  std::int32_t client = -1;                  ///< user or tenant; -1 = unknown
  std::int32_t priority = 0;                 ///< lower is served first under the priority policy
  std::int32_t session = -1;                 ///< conversation whose turn it is; -1 = unknown
  std::int32_t turn = 0;                     ///< how many answers of its session it goes on from
};

/// Where requests come from: a trace being read, a generator, or closed-loop users. Pulled in order of
/// arrival, so that memory does not grow with the trace.
class RequestSource {
 public:
  virtual ~RequestSource() = default;
  /// Takes the next request; false when none is available now. Open-loop sources are then exhausted; a closed
  /// loop may offer more after completed(). Arrivals never decrease between calls, except that completed()
  /// may make available requests at or after its `now`.
  virtual bool next(Request& out) = 0;
  /// A request left the system, at the time its client saw the last token. Only closed loops care.
  virtual void completed(const Request& /*request*/, Ps /*now*/) {}
  /// Whether completed() can make requests available (the simulation then asks again after each).
  virtual bool closed_loop() const { return false; }
  /// Requests still to come, when known (for progress); -1 = unknown.
  virtual std::int64_t total() const { return -1; }
  /// Sentences about what was read (format detected, rows skipped, timestamps spread), for stderr and the
  /// manifest.
  virtual std::vector<std::string> notes() const { return {}; }
};
using RequestSourcePtr = std::unique_ptr<RequestSource>;

}  // namespace orrery
