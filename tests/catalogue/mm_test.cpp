// MM-01 to MM-04: what comes before the language model.

#include <array>

#include "catalogue/method.hpp"
#include "cost/roofline.hpp"
#include "cost/step_pricer.hpp"
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

TEST_CASE("MM-04 does an image cost its encoder before the prompt's first chunk, and nothing after?") {
  // At the roofline of an A100: CLIP's products (by hand above) at 312 TFLOP/s, and the bytes between them.
  const DeviceProfile device = load_device("a100-sxm-80g");
  const auto ideal = std::make_shared<RooflineModel>(device, Topology{}, AnalyticEfficiency::ideal());
  const auto pricer = [&](Image image) {
    return StepPricer(load_model("llava-1.5-7b"), {}, device, topology_for(device), {}, ideal, {}, image);
  };
  StepPricer seeing = pricer({336, 336}), blind = pricer({});
  CHECK(seeing.image_tokens() == 576);
  CHECK(blind.image_tokens() == 0);
  const auto seconds = [](StepPricer& p, std::vector<PrefillChunk> chunks) {
    return to_seconds(p.mixed({}, chunks)).value;
  };
  const double positions = 577, hidden = 1024;
  const double flops = 24 * (2 * positions * 12 * hidden * hidden + 4 * hidden * positions * positions) +
                       2 * positions * 588 * hidden + 2 * 576 * (hidden * 4096 + 4096.0 * 4096);
  const double encoder = seconds(seeing, {{700, 0, 1}}) - seconds(blind, {{700, 0, 1}});
  CHECK(encoder > flops / 312e12);
  CHECK(encoder < 1.6 * flops / 312e12);
  // Without images steps are the same; eight of them, in any chunks, are one batch.
  CHECK(seconds(seeing, {{700, 0}}) == seconds(blind, {{700, 0}}));
  const double eight = seconds(seeing, {{700, 0, 5}, {700, 0, 3}}) - seconds(blind, {{700, 0}, {700, 0}});
  CHECK(eight > 7 * encoder * 0.8);
  CHECK(eight < 8 * encoder);
  DecodeSet set;
  set.seqs = 4, set.context = 4000;
  CHECK(seeing.decode(set).first == blind.decode(set).first);
}

TEST_CASE("MM-04 is each image encoded once, in the chunk that brings its first token?") {
  for (const Tokens chunk : {64, 576, 1000, 1369, 2048, 5000}) {
    for (const std::int64_t images : {0, 1, 2, 7}) {
      const Tokens prompt = images * 1369 + 500;
      std::int64_t begun = 0;
      for (Tokens past = 0; past < prompt; past += chunk) {
        const PrefillChunk part{std::min(chunk, prompt - past), past};
        std::int64_t here = 0;
        for (std::int64_t i = 0; i < images; ++i) {
          here += i * 1369 >= past && i * 1369 < past + part.new_tokens ? 1 : 0;
        }
        CHECK(images_begun(images, prompt, 1369, part) == here);
        begun += here;
      }
      CHECK(begun == images);
    }
  }
  // A cached prefix of two images leaves the third; images shorter in a trace than here all begin.
  CHECK(images_begun(3, 5000, 1369, {5000 - 2 * 1369, 2 * 1369}) == 1);
  CHECK(images_begun(3, 600, 1369, {600, 0}) == 3);
}
