#include "ops/cluster_sort.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
/// A product of the keys with the vectors and a comparison per result. Keys and vectors are read once, the
/// bucket of a key (4 bytes) written, read by the sort, and the keys' numbers written in its order.
Work cluster_sort_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double keys = dims[0] * dims[4], vectors = dims[2], dim = dims[3];
  Work w;
  w.tensor_flops = 2 * keys * vectors * dim;
  w.tensor_dtype = dtype;
  w.vector_flops = keys * vectors;
  w.hbm_read_bytes = (keys + vectors * dims[4]) * dim * bytes_per_element(dtype) + keys * 4;
  w.hbm_write_bytes = keys * 8;
  return w;
}
}  // namespace

constexpr KernelClass kClusterSort{"cluster_sort",
                                   KernelClass::Scaling::prefill,
                                   {"tokens", "buckets", "vectors", "head_dim", "heads"},
                                   "keys put into buckets and sorted by them",
                                   cluster_sort_work};

const Registration<KernelClasses> cluster_sort_class{
    "cluster_sort", "keys put into the nearest of some buckets and sorted by bucket, per head",
    &kClusterSort};

}  // namespace orrery
