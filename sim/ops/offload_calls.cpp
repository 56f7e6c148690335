#include "ops/offload_calls.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {
namespace {

Work through_host_memory(const KernelClass::Dims& dims, DType, DType) {
  Work w;
  w.host_bytes = dims[0];
  return w;
}

}  // namespace

constexpr KernelClass kDiskRead{"disk_read",
                                KernelClass::Scaling::tokens,
                                {"bytes", "streams"},
                                "a drive to host memory",
                                through_host_memory};
constexpr KernelClass kDiskWrite{"disk_write",
                                 KernelClass::Scaling::tokens,
                                 {"bytes", "streams"},
                                 "host memory to a drive",
                                 through_host_memory};

namespace {
const Registration<KernelClasses> disk_read{"disk_read", "a drive to host memory", &kDiskRead};
const Registration<KernelClasses> disk_write{"disk_write", "host memory to a drive", &kDiskWrite};
}  // namespace

}  // namespace orrery
