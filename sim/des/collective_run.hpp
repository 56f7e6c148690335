#pragma once

#include <string_view>

#include "des/fabric.hpp"

namespace orrery {

/// A collective as the messages it is made of.
enum class CollectiveKind : std::uint8_t {
  all_reduce,      ///< ring: reduce-scatter, then all-gather (Patarasuk and Yuan, 2009)
  all_gather,      ///< ring
  reduce_scatter,  ///< ring
  all_to_all,      ///< each rank to each, directly
  send_recv,       ///< the first rank to the last
};
inline constexpr CollectiveKind kCollectiveKinds[] = {CollectiveKind::all_reduce, CollectiveKind::all_gather,
                                                      CollectiveKind::reduce_scatter,
                                                      CollectiveKind::all_to_all, CollectiveKind::send_recv};
std::string_view name(CollectiveKind kind);
/// Bytes that each rank sends when `bytes` are reduced, gathered or exchanged in all.
double bytes_sent(CollectiveKind kind, int ranks, double bytes);

/// Time that the collective takes on the fabric's GPUs 0, `stride`, 2 `stride`, ... from `now` on, with
/// nothing else on it. A ring's rank sends its next part when it has the one before and its last was taken.
Ps run_collective(Fabric& fabric, CollectiveKind kind, int ranks, int stride, double bytes, Ps now);

}  // namespace orrery
