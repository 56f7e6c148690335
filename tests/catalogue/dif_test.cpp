// DIF-03 and DIF-04: what one forward of a diffusion language model costs.

#include "catalogue/method.hpp"
#include "model/encoder.hpp"
#include "model/model_spec.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {
struct Forward {
  double linear = 0, attention = 0;
};
Forward forward(const ModelSpec& model, Tokens computed, Tokens cached) {
  BatchShape batch;
  batch.chunks = {{computed, cached}};
  KernelCalls calls;
  model.lower(batch, {}, calls);
  Forward sum;
  for (const auto& call : calls) {
    if (call.cls == &kAttentionPrefill) sum.attention += call.repeat * call.work.tensor_flops;
    if (call.cls == &kGemm) sum.linear += call.repeat * call.work.tensor_flops;
  }
  return sum;
}
}  // namespace

TEST_CASE("DIF-03 does a model turned to diffusion keep its parameters and see both ways?") {
  const ModelSpec dream = load_model("dream-7b"), qwen = load_model("qwen2.5-7b");
  CHECK(dream.parameters() == qwen.parameters());
  CHECK(dream.parameters() == 7615616512.0);
  CHECK(std::get<AttentionParams>(dream.kinds.front().mixers.front()) ==
        block_of<AttentionParams>("DIF-03", "attention"));
  // n^2 pairs instead of n (n + 1) / 2; the linear layers do not change.
  const double n = 2048;
  const Forward both = forward(dream, 2048, 0), causal = forward(qwen, 2048, 0);
  CHECK(both.attention / causal.attention == Approx(n * n / (n * (n + 1) / 2)));
  CHECK(both.attention == 28 * 4 * 28 * 128 * n * n);
  CHECK(both.linear == causal.linear);
}

TEST_CASE("DIF-04 does a cached prefix save the image and the prompt in every forward?") {
  // (image + prompt + answer) / answer for the linear layers: 576 tokens of a 336-pixel image, 64 and 128.
  const auto encoder = block_of<EncoderParams>("DIF-04", "encoder");
  const Tokens image = encoder.tokens({336, 336}), prompt = 64, answer = 128;
  CHECK(image == 576);
  const ModelSpec llada = load_model("llada-8b");
  CHECK(std::get<AttentionParams>(llada.kinds.front().mixers.front()) ==
        block_of<AttentionParams>("DIF-04", "attention"));
  const Forward whole = forward(llada, image + prompt + answer, 0);
  const Forward cached = forward(llada, answer, image + prompt);
  CHECK(whole.linear / cached.linear == Approx(768.0 / 128));
  CHECK(whole.attention / cached.attention == Approx(768.0 / 128));  // every query sees all 768
}
