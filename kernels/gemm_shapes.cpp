#include "gemm_shapes.hpp"

#include <algorithm>
#include <array>

#include "ops/kernel_classes.hpp"

namespace orrery::kernels {
namespace {

/// Sizes of models/*/config.json.
struct Decoder {
  std::int64_t hidden, heads, kv_heads, head_dim, ffn, vocabulary;
};
constexpr Decoder kLlama8B{4096, 32, 8, 128, 14336, 128256};
constexpr Decoder kLlama1B{2048, 32, 8, 64, 8192, 128256};
constexpr Decoder kQwen8B{4096, 32, 8, 128, 12288, 151936};
constexpr Decoder kLlama70B{8192, 64, 8, 128, 28672, 128256};
constexpr Decoder kQwen32B{5120, 64, 8, 128, 25600, 151936};
constexpr Decoder kQwen14B{5120, 40, 8, 128, 17408, 151936};
constexpr Decoder kQwen1p7B{2048, 16, 8, 128, 6144, 151936};
constexpr Decoder kQwen600M{1024, 16, 8, 128, 3072, 151936};
constexpr std::array kDecoders{kLlama8B, kLlama1B, kQwen8B,   kLlama70B,
                               kQwen32B, kQwen14B, kQwen1p7B, kQwen600M};

}  // namespace

std::vector<WeightShape> model_weights(bool vocabulary) {
  std::vector<WeightShape> shapes;
  const auto add = [&](std::int64_t n, std::int64_t k) {
    const WeightShape shape{n, k};
    if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  };
  for (const std::int64_t ranks : {1, 2, 4, 8}) {
    for (const Decoder& d : kDecoders) {
      const std::int64_t kv = std::max<std::int64_t>(d.kv_heads / ranks, 1);
      add((d.heads / ranks + 2 * kv) * d.head_dim, d.hidden);
      add(d.hidden, d.heads / ranks * d.head_dim);
      add(2 * d.ffn / ranks, d.hidden);
      add(d.hidden, d.ffn / ranks);
      if (vocabulary) add(d.vocabulary / ranks, d.hidden);
    }
  }
  return shapes;
}

std::vector<WeightShape> filling_weights() {
  const auto models = model_weights(true);
  std::vector<WeightShape> shapes;
  for (const std::int64_t k : {512, 16384, 1024, 8192, 2048, 4096}) {
    for (const std::int64_t n : {512, 32768, 1024, 16384, 65536, 2048}) {
      const WeightShape shape{n, k};
      if (std::find(models.begin(), models.end(), shape) == models.end()) shapes.push_back(shape);
    }
  }
  return shapes;
}

std::vector<std::int64_t> token_counts(std::size_t matrix, std::int64_t most) {
  constexpr std::array<std::int64_t, 14> ladder{1,  16, 256, 2048, 64, 4,    1024,
                                                32, 8,  512, 8192, 2,  4096, 128};
  constexpr std::array<std::int64_t, 6> odd{3, 24, 77, 200, 700, 3000};
  constexpr std::size_t whole = 6;  // matrices that get the whole ladder
  std::vector<std::int64_t> counts;
  for (std::size_t i = 0; i < ladder.size(); ++i) {
    if (matrix < whole || (i + matrix) % 4 == 0) counts.push_back(ladder[i]);
  }
  counts.push_back(odd[matrix % odd.size()]);
  std::erase_if(counts, [&](std::int64_t m) { return m > most; });
  return counts;
}

Case gemm_case(std::int64_t m, WeightShape w, DType dtype, DType weight_dtype, const char* variant) {
  Case c;
  c.call = make_call(kGemm, {static_cast<double>(m), static_cast<double>(w.n), static_cast<double>(w.k)},
                     dtype, weight_dtype);
  c.variant = variant;
  return c;
}

}  // namespace orrery::kernels
