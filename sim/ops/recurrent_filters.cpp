#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/recurrent.hpp"

namespace orrery {

namespace {
using Dims = KernelClass::Dims;
using Scaling = KernelClass::Scaling;

/// The filter is read as far as the mean context reaches, in fp32; the newest input joins the others.
Work filter_step_work(const Dims& d, DType dtype, DType) {
  const double seqs = d[0], inputs = d[1] * d[2], element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = 2 * inputs;
  w.weight_bytes = seqs > 0 ? inputs / seqs * 4 : 0;
  w.hbm_read_bytes = inputs * element + w.weight_bytes;
  w.hbm_write_bytes = 2 * seqs * d[2] * element;
  return w;
}
Work space_step_work(const Dims& d, DType dtype, DType state_dtype) {
  const double rows = d[0] * d[1], element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = 7 * rows * d[2];
  w.weight_bytes = 3 * d[1] * d[2] * 4;
  const double states = rows * d[2] * bytes_per_element(state_dtype);
  w.hbm_read_bytes = rows * element + states + w.weight_bytes;
  w.hbm_write_bytes = rows * element + states;
  return w;
}
/// The bonus and the decay of each channel in fp32; per token a weighted average with the bonus (two maxima
/// and exponentials, three products and sums, a division) and the same without it for the state.
Work wkv4_work(double tokens, double seqs, double channels, DType dtype, DType state_dtype) {
  const double element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = 23 * tokens * channels;
  w.weight_bytes = 2 * channels * 4;
  const double states = seqs * channels * 3 * bytes_per_element(state_dtype);
  w.hbm_read_bytes = tokens * channels * 2 * element + states + w.weight_bytes;
  w.hbm_write_bytes = tokens * channels * element + states;
  return w;
}
}  // namespace

constexpr KernelClass kLongConvolutionDecode{"long_convolution_decode",
                                             Scaling::decode,
                                             {"seqs", "context", "channels"},
                                             "one output of a filter over all earlier inputs",
                                             filter_step_work};
constexpr KernelClass kStateSpaceDecode{"state_space_decode",
                                        Scaling::decode,
                                        {"seqs", "channels", "state"},
                                        "one step of a fixed diagonal state space",
                                        space_step_work};
constexpr KernelClass kWkv4{
    "wkv4",
    Scaling::prefill,
    {"tokens", "seqs", "channels"},
    "RWKV-4 weighted averages of prompts",
    [](const Dims& d, DType t, DType s) { return wkv4_work(d[0], d[1], d[2], t, s); }};
constexpr KernelClass kWkv4Decode{
    "wkv4_decode",
    Scaling::decode,
    {"seqs", "channels"},
    "one token of the RWKV-4 average",
    [](const Dims& d, DType t, DType s) { return wkv4_work(d[0], d[0], d[1], t, s); }};

namespace {
Registration<KernelClasses> listed(const KernelClass& cls) {
  return {std::string(cls.name), std::string(cls.help), &cls};
}
const Registration<KernelClasses> classes[] = {listed(kLongConvolutionDecode), listed(kStateSpaceDecode),
                                               listed(kWkv4), listed(kWkv4Decode)};
}  // namespace

}  // namespace orrery
