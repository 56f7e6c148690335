#include "ops/recurrent.hpp"

#include <cmath>

#include <catch2/catch.hpp>

using namespace orrery;

namespace {
Work of(const KernelClass& cls, const KernelClass::Dims& dims) {
  return make_call(cls, dims, DType::bf16, DType::fp32).work;
}
constexpr double kHeads = 16, kDk = 128, kDv = 64, kChunk = 64;
KernelClass::Dims prompt(double tokens, double seqs, double chunk = kChunk, double key_heads = kHeads) {
  return {tokens, seqs, kHeads, key_heads, kDk, kDv, chunk};
}
}  // namespace

TEST_CASE("are the tensor FLOPs of linear attention in chunks those of its matrix products?") {
  const double tokens = 640;  // ten whole chunks
  double additive = 0, delta = 0;
  for (int chunk = 0; chunk < 10; ++chunk) {
    const double scores = 2 * kChunk * kChunk * kDk, readout = 2 * kChunk * kDk * kDv;
    additive += scores + 2 * kChunk * kChunk * kDv + 2 * readout;
    // k k^T and W from keys, U from values; W S beside readout and update.
    delta += 3 * scores + 2 * (2 * kChunk * kChunk * kDv) + 3 * readout;
  }
  CHECK(of(kLinearAttention, prompt(tokens, 1)).tensor_flops == Approx(kHeads * additive));
  CHECK(of(kGatedLinearAttention, prompt(tokens, 1)).tensor_flops == Approx(kHeads * additive));
  CHECK(of(kDeltaRule, prompt(tokens, 1)).tensor_flops == Approx(kHeads * delta));
  CHECK(of(kGatedDeltaRule, prompt(tokens, 1)).tensor_flops == Approx(kHeads * delta));
}

TEST_CASE("does Mamba-2 count the scores of heads that share B and C once per group?") {
  // Dao and Gu, 2024: 2 C N G / H + 2 C P + 4 N P per token and head.
  const double groups = 2, tokens = 1024;
  CHECK(of(kSsd, prompt(tokens, 1, kChunk, groups)).tensor_flops ==
        Approx(tokens * kHeads * (2 * kChunk * kDk * groups / kHeads + 2 * kChunk * kDv + 4 * kDk * kDv)));
}

TEST_CASE("do prompts of a recurrent layer cost the same per token however long they are?") {
  for (const KernelClass* cls :
       {&kLinearAttention, &kGatedLinearAttention, &kDeltaRule, &kGatedDeltaRule, &kSsd}) {
    INFO(cls->name);
    const Work one = of(*cls, prompt(4096, 1)), two = of(*cls, prompt(8192, 2));
    CHECK(two.flops() == Approx(2 * one.flops()));
    CHECK(two.hbm_bytes() == Approx(2 * one.hbm_bytes()));
    CHECK(of(*cls, prompt(8192, 1)).flops() == Approx(2 * one.flops()));
  }
}

TEST_CASE("is a chunk of one token the recurrence of a single token?") {
  struct Pair {
    const KernelClass *chunked, *decode;
  };
  for (const Pair p : {Pair{&kLinearAttention, &kLinearAttentionDecode},
                       {&kGatedLinearAttention, &kGatedLinearAttentionDecode},
                       {&kDeltaRule, &kDeltaRuleDecode},
                       {&kGatedDeltaRule, &kGatedDeltaRuleDecode},
                       {&kSsd, &kSsdDecode}}) {
    INFO(p.decode->name);
    const double seqs = 3, chunked = of(*p.chunked, {seqs, seqs, 8, 8, 128, 128, 1}).flops();
    CHECK(chunked == Approx(of(*p.decode, {seqs, 8, 8, 128, 128}).flops()).epsilon(0.03));
  }
}

TEST_CASE("does one token read and write states of the published sizes?") {
  // Written in a decode of one sequence beside the output: one layer's state.
  const auto state = [](const KernelClass& cls, const KernelClass::Dims& dims, double output) {
    return of(cls, dims).hbm_write_bytes - 2 * output;
  };
  CHECK(32 * state(kWkv7Decode, {1, 40, 64}, 40 * 64) == Approx(20.97e6).epsilon(1e-3));  // RWKV-7 2.9B
  CHECK(24 * state(kWkv6Decode, {1, 32, 64}, 32 * 64) == Approx(12.58e6).epsilon(1e-3));  // RWKV-6 1.6B
  CHECK(24 * state(kSsdDecode, {1, 24, 1, 128, 64}, 24 * 64) ==
        Approx(18.87e6).epsilon(1e-3));  // Mamba-2 130M
}

TEST_CASE("does the selective scan do nine operations per token, channel and state?") {
  // Gu and Dao, 2023: discretisation, update and readout of 16 states per channel.
  const Work w = of(kSelectiveScan, {2048, 1, 8192, 16});
  CHECK(w.vector_flops == Approx(9.0 * 2048 * 8192 * 16));
  CHECK(w.hbm_read_bytes > 2048 * (3 * 8192 + 2 * 16) * 2.0);
  CHECK(of(kSelectiveScanDecode, {64, 8192, 16}).vector_flops == Approx(9.0 * 64 * 8192 * 16));
}

TEST_CASE("does a long convolution cost n log n?") {
  const auto cost = [](double length) { return of(kLongConvolution, {1, 512, length}).vector_flops; };
  const double ratio = cost(32768) / cost(1024);
  CHECK(ratio > 32);
  CHECK(ratio < 32 * std::log2(65536.0) / std::log2(2048.0));
}
