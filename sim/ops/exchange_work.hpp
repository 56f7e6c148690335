#pragma once

#include <string_view>

#include "ops/kernel_call.hpp"

namespace orrery {

// What classes of collectives whose dims begin {ranks, bytes of one rank's part} have in common.

/// All ranks' parts to all ranks: n - 1 parts in a ring.
inline Work gather_work(const KernelClass::Dims& dims, DType, DType) {
  const double ranks = dims[0], part = dims[1];
  Work w;
  w.hbm_read_bytes = part, w.hbm_write_bytes = ranks * part;
  w.link_bytes = (ranks - 1) * part;
  return w;
}

/// The sums of all ranks' parts, each rank its own: n - 1 parts in a ring, added up as they come.
inline Work reduce_scatter_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double ranks = dims[0], part = dims[1];
  Work w;
  w.hbm_read_bytes = ranks * part, w.hbm_write_bytes = part;
  w.link_bytes = (ranks - 1) * part;
  w.vector_flops = part / bytes_per_element(dtype) * (ranks - 1);
  return w;
}

/// Appends a call that runs on the links.
inline void push_exchange(const KernelClass& cls, std::string_view role, const KernelClass::Dims& dims,
                          DType dtype, KernelCalls& out) {
  KernelCall call = make_call(cls, dims, dtype, dtype);
  call.lane = Lane::comm;
  call.role = role;
  out.push_back(call);
}

}  // namespace orrery
