#include "token_history.hpp"

#include "base/error.hpp"

namespace orrery::live {
namespace {

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014).
std::uint64_t hash(std::uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
  return z ^ z >> 31;
}

/// Whose token it is: that of everyone with the same prefix key, or the request's own.
std::uint64_t owner(const Request& r, std::int64_t position) {
  constexpr std::uint64_t own = 0x8000'0000'0000'0000ULL;
  if (r.prefix) {
    const auto key = static_cast<std::size_t>(position / r.prefix->block_tokens);
    if (key < r.prefix->ids.size()) return r.prefix->ids[key];
  }
  return own + static_cast<std::uint64_t>(r.id);
}

}  // namespace

std::int32_t TokenHistory::at(const Request& request, std::int64_t position) const {
  if (position >= request.prompt_tokens) {
    const auto it = sampled_.find(request.id);
    const auto i = static_cast<std::size_t>(position - request.prompt_tokens);
    ORRERY_CHECK(it != sampled_.end() && i < it->second.size(), "a token is asked for before it was sampled");
    return it->second[i];
  }
  const std::uint64_t z = hash(owner(request, position)) + static_cast<std::uint64_t>(position);
  return static_cast<std::int32_t>(hash(z * 0x9e3779b97f4a7c15ULL) % vocab_);
}

}  // namespace orrery::live
