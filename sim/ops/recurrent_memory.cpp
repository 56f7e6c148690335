#include <algorithm>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/recurrent.hpp"

namespace orrery {

namespace {
using Dims = KernelClass::Dims;
using Scaling = KernelClass::Scaling;

/// Weights and sums of (in + out) of the layers of a network from dim to dim.
struct Network {
  double weights = 0, first = 0, edges = 0, biases = 0;
};
Network network(double dim, double depth, double expansion) {
  if (depth <= 1) return {dim * dim, dim * dim, 2 * dim, dim};
  const double inner = expansion * dim, hidden = depth - 2;
  Network n;
  n.first = dim * inner;
  n.weights = 2 * dim * inner + hidden * inner * inner;
  n.edges = 2 * (dim + inner) + hidden * 2 * inner;
  n.biases = (depth - 1) * inner + dim;
  return n;
}
/// On the matrix units per token and head, in mini-batches of `batch`.
double training_flops(const Network& n, double batch) {
  return 6 * n.weights + 2 * (n.weights - n.first) + 2 * batch * n.edges;
}

Work training_work(const Dims& d, DType dtype, DType state_dtype) {
  const double rows = d[0] * d[2], states = d[1] * d[2], dim = d[3], batch = d[6],
               element = bytes_per_element(dtype);
  const Network n = network(dim, d[4], d[5]);
  const double kept = (n.weights + n.biases) * (1 + d[7]);
  Work w;
  w.tensor_flops = rows * training_flops(n, batch);
  w.tensor_dtype = dtype;
  w.vector_flops = d[7] * 3 * rows * (n.weights + n.biases) / batch;
  // q, k, v and the token's learning rate in, the output out; the weights per mini-batch each way.
  const double state_bytes = (states + rows / batch) * kept * bytes_per_element(state_dtype);
  w.hbm_read_bytes = rows * (3 * dim * element + 4) + state_bytes;
  w.hbm_write_bytes = rows * dim * element + state_bytes;
  return w;
}
Work training_step_work(const Dims& d, DType dtype, DType state_dtype) {
  const double rows = d[0] * d[1], dim = d[2], element = bytes_per_element(dtype);
  const Network n = network(dim, d[3], d[4]);
  const double numbers = n.weights + n.biases;
  Work w;
  w.vector_flops = rows * (training_flops(n, 1) + d[5] * 3 * numbers);
  const double state_bytes = rows * numbers * (1 + d[5]) * bytes_per_element(state_dtype);
  w.hbm_read_bytes = rows * (3 * dim * element + 4) + state_bytes;
  w.hbm_write_bytes = rows * dim * element + state_bytes;
  return w;
}

Work conjugate_work(const Dims& d, DType dtype, DType state_dtype) {
  const double rows = d[0] * d[2], dim = d[3], chunk = d[4], element = bytes_per_element(dtype);
  Work w;
  w.tensor_flops = rows * d[5] * (2 * dim * dim + 4 * chunk * dim);
  w.tensor_dtype = dtype;
  // Queries, keys and gates in, solutions out; H at each chunk's start, kept on chip while it iterates.
  w.hbm_read_bytes = rows * (2 * dim * element + 4 + dim * dim / chunk * bytes_per_element(state_dtype));
  w.hbm_write_bytes = rows * dim * element;
  return w;
}
Work conjugate_step_work(const Dims& d, DType dtype, DType state_dtype) {
  const double rows = d[0] * d[1], dim = d[2];
  Work w;
  w.vector_flops = rows * d[3] * 2 * dim * dim;
  w.hbm_read_bytes = rows * (dim * bytes_per_element(dtype) + dim * dim * bytes_per_element(state_dtype));
  w.hbm_write_bytes = rows * dim * bytes_per_element(dtype);
  return w;
}

Work slstm_work(const Dims& d, DType dtype, DType state_dtype) {
  const double seqs = d[0], channels = d[1] * d[2], element = bytes_per_element(dtype);
  Work w;
  w.vector_flops = seqs * channels * (8 * d[2] + 20);
  w.weight_bytes = channels * 4 * d[2] * element;
  const double state_bytes = seqs * channels * 4 * bytes_per_element(state_dtype);
  w.hbm_read_bytes = seqs * channels * 4 * element + state_bytes + w.weight_bytes;
  w.hbm_write_bytes = seqs * channels * element + state_bytes;
  return w;
}
}  // namespace

double network_elements(double dim, double depth, double expansion) {
  const Network n = network(dim, depth, expansion);
  return n.weights + n.biases;
}

constexpr KernelClass kTestTimeTraining{
    "test_time_training",
    Scaling::prefill,
    {"tokens", "seqs", "heads", "dim", "depth", "expansion", "batch", "momentum"},
    "a network trained by mini-batches of a prompt",
    training_work};
constexpr KernelClass kTestTimeTrainingDecode{"test_time_training_decode",
                                              Scaling::decode,
                                              {"seqs", "heads", "dim", "depth", "expansion", "momentum"},
                                              "a network trained by one token",
                                              training_step_work};
constexpr KernelClass kConjugateGradient{"conjugate_gradient",
                                         Scaling::prefill,
                                         {"tokens", "seqs", "heads", "key_dim", "chunk", "iterations"},
                                         "least squares over a prompt's keys, in chunks",
                                         conjugate_work};
constexpr KernelClass kConjugateGradientDecode{"conjugate_gradient_decode",
                                               Scaling::decode,
                                               {"seqs", "heads", "key_dim", "iterations"},
                                               "least squares for one token",
                                               conjugate_step_work};
constexpr KernelClass kSlstmStep{"slstm_step",
                                 Scaling::decode,
                                 {"seqs", "heads", "head_dim"},
                                 "one step of gates that see the last output",
                                 slstm_work};

namespace {
Registration<KernelClasses> listed(const KernelClass& cls) {
  return {std::string(cls.name), std::string(cls.help), &cls};
}
const Registration<KernelClasses> classes[] = {listed(kTestTimeTraining), listed(kTestTimeTrainingDecode),
                                               listed(kConjugateGradient), listed(kConjugateGradientDecode),
                                               listed(kSlstmStep)};
}  // namespace

}  // namespace orrery
