#include <cmath>

#include "catalogue/compression_rows.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"

using namespace orrery;

// What compressed matrices store, against counts written down here.

TEST_CASE("CMP-01 does uniform quantisation store N + (16 [+ N]) / g bits a weight?", "[catalogue]") {
  CHECK(bits_per_weight(format_of("CMP-01")) == 4.15625);
  LinearFormat symmetric = format_of("CMP-01");
  symmetric.scales->zero_points = false;
  CHECK(bits_per_weight(symmetric) == 4.125);
  // Brute force over a matrix whose columns do not divide into whole groups.
  const int k = 1000, n = 7;
  for (const int bits : {2, 3, 4}) {
    for (const int group : {32, 64, 128}) {
      for (const bool zeros : {false, true}) {
        long stored = 0;
        for (int column = 0; column < n; ++column) {
          for (int row = 0; row < k; ++row) {
            stored += bits;
            if (row % group == 0) stored += 16 + (zeros ? bits : 0);
          }
        }
        LinearFormat f;
        f.weight = DType::int4, f.bits = bits;
        f.scales = WeightScales{group, 1, 16, zeros};
        CHECK(8 * stored_matrix_bytes(f, k, n) == static_cast<double>(stored));
      }
    }
  }
}

TEST_CASE("CMP-04 does a 4-bit KV cache let 3.6 to 4 times as many sequences fit?", "[catalogue]") {
  // 32 layers of 32 KV heads of 128: 262,144 elements a token; in groups of 64 each has 4 bits and 1/64 of a
  // 16-bit scale.
  const ModelSpec model = load_model("llama-2-7b");
  LoweringContext bf16, int4;
  int4.precision = precision_of("CMP-04");
  CHECK(model.kv_bytes_per_token(bf16) == 524288);
  CHECK(model.kv_bytes_per_token(int4) == 262144 * (4 + 16.0 / 64) / 8);
  const double memory = 40e9, length = 2048;
  const double more = std::floor(memory / (length * model.kv_bytes_per_token(int4))) /
                      std::floor(memory / (length * model.kv_bytes_per_token(bf16)));
  CHECK(more >= 3.6);
  CHECK(more <= 4.0);
}

TEST_CASE("CMP-06 does OWQ store N (1 - f) + 16 f bits, its weak rows as a second product?", "[catalogue]") {
  const double k = 16384, n = 4096, scales = 16 / k;  // one 16-bit scale per column
  LinearFormat f = format_of("CMP-06");
  CHECK(bits_per_weight(f, k, n) - scales == Approx(3 * (1 - f.outliers) + 16 * f.outliers).margin(1e-3));
  CHECK(bits_per_weight(f, k, n) - scales == Approx(3.01).margin(1e-3));
  f.outliers = 0.0077;
  CHECK(bits_per_weight(f, k, n) - scales == Approx(3.1).margin(2e-3));
  f.bits = 4, f.outliers = 0.01 / 12;
  CHECK(bits_per_weight(f, k, n) - scales == Approx(4.01).margin(1e-3));
  const auto calls = product(f, 8, n, k);
  REQUIRE(calls.size() == 2);
  CHECK(calls[1].dims[2] == 14);  // of 16384 rows
  CHECK(calls[1].weight_dtype == DType::bf16);
}

TEST_CASE("CMP-13 does QLoRA store LLaMA-65B in 33 to 35 GB, and an adapter add what its rank says?",
          "[catalogue]") {
  // LLaMA-65B: 80 layers, hidden 8192, feed-forward 22016, vocabulary 32000 twice in 16 bits.
  LinearFormat base = format_of("CMP-13");
  base.adapter_rank = 0;
  const double d = 8192, f = 22016;
  const double layer = 4 * stored_matrix_bytes(base, d, d) + 3 * stored_matrix_bytes(base, d, f);
  const double total = 80 * layer + 2 * 32000 * d * 2;
  CHECK(total >= 33e9);
  CHECK(total <= 35e9);
  CHECK(bits_per_weight(base, d, d) == Approx(4.127).margin(5e-4));  // section 3: 0.127 bits of constants

  const auto calls = product(format_of("CMP-13"), 10, f, d);
  double flops = 0, bytes = 0;
  for (const auto& c : calls) flops += c.work.tensor_flops, bytes += c.work.weight_bytes;
  CHECK(flops == 2 * 10 * d * f + 2 * 10 * 64 * (d + f));
  CHECK(bytes == stored_matrix_bytes(base, d, f) + 64 * (d + f) * 2);
}

TEST_CASE("CMP-15 do zeros gain nothing in a dense kernel, and bytes only above 1/16 with a bitmap?",
          "[catalogue]") {
  const auto cost = speed_of_light(a100());
  LinearFormat zeros = format_of("CMP-15");
  CHECK(bits_per_weight(zeros) == 0.5625 * 16);
  zeros.sparsity.bitmap = false;
  for (const double m : {1.0, 16.0, 4096.0})
    CHECK(seconds(product({}, m, 4096, 4096), *cost) == seconds(product(zeros, m, 4096, 4096), *cost));
  // Frantar and Alistarh (2023): s = 0.5; break-even where the bits saved are the bitmap's.
  const auto stored = [](double s) {
    LinearFormat f;
    f.sparsity.zeros = s, f.sparsity.bitmap = true;
    return bits_per_weight(f);
  };
  CHECK(stored(1.0 / 16 - 0.01) > 16);
  CHECK(stored(1.0 / 16) == Approx(16));
  CHECK(stored(1.0 / 16 + 0.01) < 16);
}

TEST_CASE("CMP-16 does 2:4 sparsity keep 0.5625 of 16-bit weights and gain at most 2 times?", "[catalogue]") {
  const LinearFormat sparse = format_of("CMP-16");
  CHECK(bits_per_weight(sparse) == 0.5625 * 16);
  LinearFormat fp8 = sparse, dense8;
  fp8.weight = dense8.weight = DType::fp8;
  fp8.scales = dense8.scales = WeightScales{0, 1, 0, false};  // without the scales, which both have
  CHECK(bits_per_weight(fp8) == 0.625 * bits_per_weight(dense8));
  const auto cost = speed_of_light(a100());
  const auto gain = [&](double m) {
    return seconds(product({}, m, 11008, 4096), *cost) / seconds(product(sparse, m, 11008, 4096), *cost);
  };
  CHECK(gain(1) == Approx(1 / 0.5625).epsilon(0.01));
  CHECK(gain(8192) == Approx(2).epsilon(0.01));
  for (const double m : {1.0, 16.0, 64.0, 256.0, 1024.0, 8192.0}) CHECK(gain(m) <= 2.0001);
  // Wanda, section 4.3: Llama-7B prompts of 2048, CUTLASS's sparse GEMM against a dense one: 1.6 times for
  // the linear layers, 1.24 for the model. Without the losses of those kernels both are upper bounds.
  Precision p;
  p.set_linear(sparse);
  auto model = against_bf16("llama-7b", p);
  CHECK(model.prefill(2048) > 1.24);
  CHECK(model.prefill(2048) < gain(2048));
  CHECK(model.decode(1, 2048) > 1.24);
  CHECK(model.decode(1, 2048) < gain(1));
}

TEST_CASE("CMP-19 does a low-rank pair break even at mn / (m + n), and lose there to one launch?",
          "[catalogue]") {
  const double n = 11008, k = 4096;
  const double even = n * k / (n + k);  // 2985.3
  const auto device = a100();
  const auto light = speed_of_light(device), analytic = make_analytic(device, topology_for(device));
  const auto time = [&](std::int64_t rank, double m, const KernelCostModel& cost) {
    LinearFormat f = format_of("CMP-19");
    f.rank = rank;
    return seconds(product(f, m, n, k), cost);
  };
  const auto below = static_cast<std::int64_t>(even);
  for (const double m : {1.0, 64.0, 4096.0}) {
    INFO(m << " tokens");
    const double dense = seconds(product({}, m, n, k), *light);
    CHECK(time(below, m, *light) == Approx(dense).epsilon(0.06));
    CHECK(time(below / 2, m, *light) < 0.6 * dense);
    CHECK(time(below + 100, m, *light) > dense);
    CHECK(time(below, m, *analytic) > seconds(product({}, m, n, k), *analytic));
  }
  LinearFormat pair = format_of("CMP-19");
  pair.rank = below;
  CHECK(stored_matrix_bytes(pair, k, n) < stored_matrix_bytes(LinearFormat{}, k, n));
  pair.rank = below + 1;
  CHECK(stored_matrix_bytes(pair, k, n) > stored_matrix_bytes(LinearFormat{}, k, n));
  pair.rank = 4096;
  CHECK(seconds(product(pair, 7, n, k), *light) == seconds(product({}, 7, n, k), *light));
}

TEST_CASE("EFA-14 does a quantised BERT store what Q-BERT's table says?", "[catalogue]") {
  // Q-BERT, table 1: MiB of the 12 layers of BERT-base (hidden 768, feed-forward 3072) at 32 bits and with
  // weights in 8, 4, 3 and 2 (biases and norms, 0.1%, beside them).
  const auto mebibytes = [](LinearFormat f) {
    if (f.weight != DType::fp32) f.scales = WeightScales{0, 1, 32, false};
    const double layer = 4 * stored_matrix_bytes(f, 768, 768) + 2 * stored_matrix_bytes(f, 768, 3072);
    return 12 * layer / (1 << 20);
  };
  LinearFormat f;
  f.weight = DType::int4, f.bits = 3;
  CHECK(mebibytes(f) == Approx(30.5).epsilon(0.02));
  f.bits = 2;
  CHECK(mebibytes(f) == Approx(20.4).epsilon(0.02));
  f.bits = 0;
  CHECK(mebibytes(f) == Approx(40.6).epsilon(0.02));
  f.weight = DType::int8;
  CHECK(mebibytes(f) == Approx(81.2).epsilon(0.02));
  f.weight = DType::fp32;
  CHECK(mebibytes(f) == Approx(324.5).epsilon(0.02));
}
