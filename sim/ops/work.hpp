#pragma once

#include "base/units.hpp"
#include "ops/dtype.hpp"

namespace orrery {

/// What a piece of computation does, never how long it takes: floating-point operations by pipe and number
/// format, bytes by the memory or link they cross. Counted once, in sim/ops; measured, fitted, priced and
/// shown everywhere else.
struct Work {
  double tensor_flops = 0;           ///< on the matrix units, multiply-add = 2
  DType tensor_dtype = DType::bf16;  ///< the format they multiply in
  double vector_flops = 0;           ///< on the ordinary units, fp32
  double hbm_read_bytes = 0;         ///< minimal traffic: each operand once
  double hbm_write_bytes = 0;
  double weight_bytes = 0;  ///< the part of hbm_read_bytes that is parameters (amortised by batching)
  double host_bytes = 0;    ///< over PCIe or C2C to host memory
  double link_bytes = 0;    ///< sent by one rank to its peers (NVLink, network)

  double hbm_bytes() const { return hbm_read_bytes + hbm_write_bytes; }
  double flops() const { return tensor_flops + vector_flops; }
  /// FLOP per HBM byte, the roofline's abscissa.
  double intensity() const { return hbm_bytes() > 0 ? flops() / hbm_bytes() : 0.0; }

  Work& operator+=(const Work& o) {
    tensor_flops += o.tensor_flops;
    vector_flops += o.vector_flops;
    hbm_read_bytes += o.hbm_read_bytes;
    hbm_write_bytes += o.hbm_write_bytes;
    weight_bytes += o.weight_bytes;
    host_bytes += o.host_bytes;
    link_bytes += o.link_bytes;
    return *this;
  }
};

}  // namespace orrery
