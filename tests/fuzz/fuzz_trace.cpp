#include <cstdint>
#include <string_view>

#include "workload/trace_source.hpp"

namespace {

/// Reads up to 10,000 requests; whatever the bytes, they are well formed and in order.
void replay(const orrery::WorkloadSpec& spec, std::string_view bytes) {
  using namespace orrery;
  try {
    const auto source = make_trace_source(spec, ByteSource::memory(bytes, "fuzzed"), 1);
    Request r;
    Ps last{0};
    for (int i = 0; i < 10'000 && source->next(r); ++i) {
      ORRERY_CHECK(r.arrival >= last, "arrivals decrease");
      ORRERY_CHECK(r.prompt_tokens >= 1 && r.prompt_tokens <= kMaxTokens, "impossible prompt");
      ORRERY_CHECK(r.output_tokens >= 1 && r.output_tokens <= kMaxTokens, "impossible answer");
      last = r.arrival;
      source->completed(r, r.arrival);
    }
    source->notes();
  } catch (const ConfigError&) {
    return;
  }
}

}  // namespace

/// Whatever bytes a trace holds, every reader gives requests or refuses it by a ConfigError. The first byte
/// chooses the format ('auto' beyond the last) and how bad rows, ties and order are treated.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace orrery;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  WorkloadSpec spec;
  replay(spec, bytes);
  if (size == 0) return 0;
  const auto& formats = Registry<TraceFormats>::entries();
  const std::size_t choice = data[0] % 16;
  if (choice < formats.size()) spec.read.format = formats[choice].name;
  spec.read.on_bad_row = (data[0] & 16) != 0 ? OnBadRow::skip : OnBadRow::fail;
  spec.read.sort = (data[0] & 32) != 0;
  spec.read.spread_ties = (data[0] & 64) != 0 ? SpreadTies::poisson : SpreadTies::none;
  if ((data[0] & 128) != 0) spec.loop = 3, spec.target_rps = 7;
  replay(spec, bytes.substr(1));
  return 0;
}
