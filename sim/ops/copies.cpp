#include "ops/copies.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {
namespace {

using Dims = KernelClass::Dims;
constexpr auto kTokens = KernelClass::Scaling::tokens;

Work to_device(const Dims& dims, DType, DType) {
  Work w;
  w.host_bytes = w.hbm_write_bytes = dims[0];
  return w;
}
Work to_host(const Dims& dims, DType, DType) {
  Work w;
  w.host_bytes = w.hbm_read_bytes = dims[0];
  return w;
}
Work within(const Dims& dims, DType, DType) {
  Work w;
  w.hbm_read_bytes = w.hbm_write_bytes = dims[0];
  return w;
}
Work blocks_within(const Dims& dims, DType dtype, DType weight_dtype) {
  return within({dims[0] * dims[1]}, dtype, weight_dtype);
}
Work blocks_to_host(const Dims& dims, DType dtype, DType weight_dtype) {
  return to_host({dims[0] * dims[1]}, dtype, weight_dtype);
}
Work blocks_to_device(const Dims& dims, DType dtype, DType weight_dtype) {
  return to_device({dims[0] * dims[1]}, dtype, weight_dtype);
}
/// Four-byte ids, positions and lengths and eight-byte slots per sequence, four bytes per block.
Work step_inputs(const Dims& dims, DType, DType) {
  Work w;
  w.host_bytes = 20 * dims[0] + 4 * dims[1];
  return w;
}
/// A launch moves nothing and computes nothing: what it costs is all overhead.
Work nothing(const Dims&, DType, DType) {
  return {};
}

}  // namespace

constexpr KernelClass kCopyH2D{
    "copy_h2d", kTokens, {"bytes", "streams"}, "page-locked host memory to the device", to_device};
constexpr KernelClass kCopyD2H{
    "copy_d2h", kTokens, {"bytes", "streams"}, "the device to page-locked host memory", to_host};
constexpr KernelClass kCopyH2DPageable{
    "copy_h2d_pageable", kTokens, {"bytes", "streams"}, "pageable host memory to the device", to_device};
constexpr KernelClass kCopyD2HPageable{
    "copy_d2h_pageable", kTokens, {"bytes", "streams"}, "the device to pageable host memory", to_host};
constexpr KernelClass kCopyD2D{
    "copy_d2d", kTokens, {"bytes", "streams"}, "device memory to device memory", within};
constexpr KernelClass kKvGather{
    "kv_gather", kTokens, {"blocks", "block_bytes"}, "paged KV blocks into one device buffer", blocks_within};
constexpr KernelClass kKvScatter{"kv_scatter",
                                 kTokens,
                                 {"blocks", "block_bytes"},
                                 "one device buffer into paged KV blocks",
                                 blocks_within};
constexpr KernelClass kKvOffload{"kv_offload",
                                 kTokens,
                                 {"blocks", "block_bytes"},
                                 "paged KV blocks to page-locked host memory",
                                 blocks_to_host};
constexpr KernelClass kKvRestore{"kv_restore",
                                 kTokens,
                                 {"blocks", "block_bytes"},
                                 "page-locked host memory to paged KV blocks",
                                 blocks_to_device};
constexpr KernelClass kLaunchHost{
    "launch_host", kTokens, {"kernels"}, "host time to enqueue launches", nothing};
constexpr KernelClass kLaunchDevice{
    "launch_device", kTokens, {"kernels"}, "device time of a chain of empty kernels", nothing};
constexpr KernelClass kGraphHost{"graph_host", kTokens, {"nodes"}, "host time of a graph's replay", nothing};
constexpr KernelClass kGraphDevice{
    "graph_device", kTokens, {"nodes"}, "device time of a graph of empty kernels in a chain", nothing};
constexpr KernelClass kHostStep{
    "host_step", kTokens, {"seqs", "blocks"}, "host time to write a step's inputs", step_inputs};

namespace {
Registration<KernelClasses> listed(const KernelClass& cls) {
  return {std::string(cls.name), std::string(cls.help), &cls};
}
const Registration<KernelClasses> classes[] = {
    listed(kCopyH2D),     listed(kCopyD2H),    listed(kCopyH2DPageable), listed(kCopyD2HPageable),
    listed(kCopyD2D),     listed(kKvGather),   listed(kKvScatter),       listed(kKvOffload),
    listed(kKvRestore),   listed(kLaunchHost), listed(kLaunchDevice),    listed(kGraphHost),
    listed(kGraphDevice), listed(kHostStep)};
}  // namespace

}  // namespace orrery
