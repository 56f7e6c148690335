#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/units.hpp"
#include "report/output_file.hpp"

namespace orrery {

/// Streams a native Perfetto trace: a sequence of TracePacket messages (perfetto/protos/perfetto/trace). Only
/// what a timeline needs: processes, tracks, counters, nested slices, instants. Tracks must be described
/// before they are used; times on one track must not decrease. Texts are cut at 1024 bytes.
class PerfettoWriter {
 public:
  /// Names that occur on many slices are written once and referred to by number.
  enum class Name : std::uint8_t {
    queued = 1,
    prefill,
    decode,
    decode_run,
    mixed_step,
    preemption,
    kv_transfer,
    starting,
    draining,
    down,
    failed,
    retry
  };
  enum class Arg : std::uint8_t {
    steps = 1,
    decode_seqs,
    prefill_tokens,
    running,
    waiting,
    kv_blocks,
    request,
    prompt_tokens,
    cached_tokens,
    output_tokens,
    preemptions
  };
  struct Annotation {
    Arg name;
    std::int64_t value;
  };
  using Annotations = std::initializer_list<Annotation>;

  /// Writes the header: clock, interned names and the ordering of processes.
  explicit PerfettoWriter(const std::string& path);

  void process(std::uint64_t uuid, std::int64_t pid, std::string_view name, int rank);
  void track(std::uint64_t uuid, std::uint64_t parent, std::string_view name, int rank,
             std::string_view help = {});
  void counter(std::uint64_t uuid, std::uint64_t parent, std::string_view name, int rank,
               std::string_view unit);

  void begin(std::uint64_t track, Ps time, Name name, Annotations args = {});
  void begin(std::uint64_t track, Ps time, std::string_view name, Annotations args = {});
  void end(std::uint64_t track, Ps time);
  void instant(std::uint64_t track, Ps time, Name name, Annotations args = {});
  void count(std::uint64_t track, Ps time, std::int64_t value);
  void count(std::uint64_t track, Ps time, double value);

  void close() { file_.close(); }

 private:
  template <class Fill>
  void packet(Fill&& fill);
  template <class Fill>
  void descriptor(std::uint64_t uuid, Fill&& fill);
  template <class Fill>
  void event(std::uint64_t track, Ps time, int type, Fill&& fill);

  OutputFile file_;
};

}  // namespace orrery
