// MM-01 to MM-04: what comes before the language model.

#include <array>

#include "catalogue/method.hpp"
#include "model/encoder.hpp"
#include "model/model_spec.hpp"

using namespace orrery;

namespace {
struct Totals {
  double matrix = 0, other = 0, scans = 0;
};
/// Work of one forward; `scans`: operations of state rules.
Totals forward(const EncoderParams& encoder, Image image) {
  const std::array images{image};
  KernelCalls calls;
  encoder.lower(images, {}, calls);
  Totals sum;
  for (const auto& call : calls) {
    sum.matrix += call.repeat * call.work.tensor_flops;
    sum.other += call.repeat * call.work.vector_flops;
    if (call.cls->name == "selective_scan") sum.scans += call.repeat * call.work.vector_flops;
  }
  return sum;
}
}  // namespace

TEST_CASE("MM-01 is a vision state-space model linear in pixels, its scans in directions?") {
  auto encoder = block_of<EncoderParams>("MM-01", "encoder");
  encoder.check();
  const Totals once = forward(encoder, {224, 224}), twice = forward(encoder, {448, 224});
  CHECK(encoder.patches({224, 224}) == 196);
  CHECK(twice.matrix == 2 * once.matrix);
  CHECK(twice.other == Approx(2 * once.other));
  encoder.directions = 1;
  REQUIRE(once.scans > 0);
  CHECK(once.scans == 4 * forward(encoder, {224, 224}).scans);
  CHECK(forward(encoder, {224, 224}).matrix == once.matrix);
}

TEST_CASE("MM-02 does each image token of a sparse encoder cost its two experts?") {
  const auto encoder = block_of<EncoderParams>("MM-02", "encoder");
  auto dense = encoder;
  dense.moe.reset();
  // 577 positions x 24 layers x 2 experts x 2 matrices of 1024 x 4096, and a router of 32 columns.
  const double experts = 2.0 * 577 * 24 * (2 * 2 * 1024.0 * 4096 + 1024 * 32);
  CHECK(forward(encoder, {}).matrix - forward(dense, {}).matrix == Approx(experts).epsilon(1e-6));
}

TEST_CASE("MM-03 does sound cost its duration and nothing else?") {
  const auto encoder = block_of<EncoderParams>("MM-03", "encoder");
  // 100 frames a second of 128 bands, 16 frames to a patch: direction only, no published real-time factor.
  const auto seconds = [&](int s) { return forward(encoder, {100 * s, 128}); };
  CHECK(encoder.tokens({1600, 128}) == 100);
  CHECK(seconds(32).matrix == 2 * seconds(16).matrix);
  CHECK(seconds(160).other == Approx(10 * seconds(16).other));
}

TEST_CASE("MM-04 how many tokens does an image become, and what does that cost?") {
  const ModelSpec llava = load_model("llava-1.5-7b");
  REQUIRE(llava.encoder);
  CHECK(llava.encoder->tokens({336, 336}) == 576);  // (336 / 14)^2; every image is scaled to it
  CHECK(llava.encoder->tokens({1024, 768}) == 576);
  const ModelSpec qwen = load_model("qwen2-vl-7b");
  CHECK(qwen.encoder->tokens({1024, 1024}) == 1369);  // round(1024 / 28)^2
  CHECK(qwen.encoder->patches({1024, 1024}) == 4 * 1369);
  CHECK(load_model("gemma-3-4b").encoder->tokens({1920, 1080}) == 256);
  CHECK(load_model("qwen3-vl-8b").encoder->tokens({1024, 1024}) == 1024);

  // CLIP ViT-L/14 at 336 by hand: 577 positions, per layer 12 D^2 products and all pairs both ways, patches
  // of 588 numbers, two matrices on the tokens (one position of the patch matrix is the class token's).
  const auto encoder = block_of<EncoderParams>("MM-04", "encoder");
  const double positions = 577, hidden = 1024;
  const double expected = 24 * (2 * positions * 12 * hidden * hidden + 4 * hidden * positions * positions) +
                          2 * positions * 588 * hidden + 2 * 576 * (hidden * 4096 + 4096.0 * 4096);
  CHECK(forward(encoder, {336, 336}).matrix == Approx(expected).epsilon(1e-6));
}
