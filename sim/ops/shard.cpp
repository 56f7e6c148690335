#include "ops/shard.hpp"

#include <array>
#include <utility>

namespace orrery {

std::string name(const Shard& shard) {
  const std::array<std::pair<const char*, int>, 6> sizes{{{"tp", shard.tp},
                                                          {"pp", shard.pp},
                                                          {"dp", shard.dp},
                                                          {"ep", shard.ep},
                                                          {"pcp", shard.cp},
                                                          {"dcp", shard.dcp}}};
  std::string out;
  for (const auto& [what, size] : sizes) {
    if (size > 1) out += (out.empty() ? "" : " ") + (what + std::to_string(size));
  }
  return out.empty() ? "tp1" : out;
}

}  // namespace orrery
