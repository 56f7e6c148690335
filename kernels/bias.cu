#include "bias.hpp"

// One block per row, 16-byte accesses; the rows were just written and lie in L2.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kPer = kPerLoad<bf16>;

__global__ void __launch_bounds__(kThreads) add_bias_kernel(bf16* rows, const bf16* bias, int width) {
  bf16* row = rows + std::size_t{blockIdx.x} * static_cast<std::size_t>(width);
  for (int i = static_cast<int>(threadIdx.x) * kPer; i < width; i += kThreads * kPer) {
    auto x = load_pack<kPer>(row + i);
    const auto b = load_pack<kPer>(bias + i);
    for (int j = 0; j < kPer; ++j) x.v[j] = from_float<bf16>(to_float(x.v[j]) + to_float(b.v[j]));
    store_pack(row + i, x);
  }
}

}  // namespace

void add_bias(bf16* rows, const bf16* bias, std::int64_t tokens, int width, StreamRef stream) {
  if (tokens == 0) return;
  launch(add_bias_kernel, {dim3(static_cast<unsigned>(tokens)), dim3(kThreads), 0, stream}, rows, bias,
         width);
}

}  // namespace orrery::kernels
