#pragma once

#include <algorithm>
#include <memory>

#include "base/rng.hpp"
#include "workload/request.hpp"

namespace orrery::test {

/// What a KV cache would hold for token `t` of a request: tokens named by its prefix keys are those of every
/// request with the same key, all others are its own.
inline std::uint64_t content(const Request& r, Tokens t) {
  const auto key = r.prefix ? static_cast<std::size_t>(t / r.prefix->block_tokens) : 0;
  const bool named = r.prefix && t < r.prompt_tokens && key < r.prefix->ids.size();
  const std::uint64_t whose =
      named ? r.prefix->ids[key] : 0x8000'0000'0000'0000ULL + static_cast<std::uint64_t>(r.id);
  return whose * 1'000'003 + static_cast<std::uint64_t>(t) + 1;
}

/// Keys that share their first few with other requests of one of five trees; sometimes they name only the
/// start of the prompt.
inline std::shared_ptr<const PrefixKeys> random_prefix(Rng& rng, RequestId id, Tokens prompt,
                                                       std::int32_t block_tokens) {
  PrefixKeys keys;
  keys.block_tokens = block_tokens;
  const auto tree = static_cast<std::uint64_t>(rng.uniform_int(1, 5));
  const std::int64_t shared = rng.uniform_int(0, 6);
  const Tokens named =
      rng.uniform() < 0.7 ? prompt : std::min<Tokens>(prompt, block_tokens * rng.uniform_int(1, 6));
  for (std::int64_t k = 0; k * block_tokens < named; ++k) {
    const std::uint64_t owner = k < shared ? tree : static_cast<std::uint64_t>(id) + 100;
    keys.ids.push_back(owner * 1000 + static_cast<std::uint64_t>(k));
  }
  return std::make_shared<const PrefixKeys>(std::move(keys));
}

}  // namespace orrery::test
