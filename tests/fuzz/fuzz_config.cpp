#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "model/config_import.hpp"

/// Whatever bytes a config.json holds: it is imported, or refused by a ConfigError. A model that was imported
/// can be lowered. Families are read from $ORRERY_DATA.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace orrery;
  try {
    const auto document =
        JsonDocument::parse(std::string(reinterpret_cast<const char*>(data), size), "config.json");
    const ModelSpec model = import_config(document, "fuzzed");
    BatchShape batch;
    batch.decode_seqs = 2, batch.decode_context = 300;
    batch.windowed_context.assign(model.caps().size(), 200);
    batch.chunks = {{64, 32}};
    KernelCalls calls;
    model.lower(batch, {}, calls);
    ORRERY_CHECK(model.parameters() > 0 && !calls.empty(), "an imported model computes nothing");
  } catch (const ConfigError&) {
    return 0;
  }
  return 0;
}
