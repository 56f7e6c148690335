#pragma once

#include <optional>
#include <span>
#include <vector>

#include "model/blocks.hpp"

namespace orrery {

/// A matrix (with a bias) from the encoder's output to the language model's input.
struct ProjectorMatrix {
  std::int64_t in = 0, out = 0;
  bool bias = true;
  std::int64_t copies = 1;  ///< equal ones, each on all tokens (one per level that is handed over)

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("in", p.in), v("out", p.out), v("bias", p.bias), v("copies", p.copies);
  }
  bool operator==(const ProjectorMatrix&) const = default;
};

/// Width and height of an image in pixels; of sound, frames and bands of its spectrogram.
struct Image {
  std::int64_t width = 0, height = 0;
};

/// What turns an image (or a spectrogram) into tokens of a language model (block EncoderStage): patches
/// (Dosovitskiy et al., ViT, 2021, section 3.1), layers that see all of them, a projector. Its mixer is
/// attention that looks both ways, or a state scanned in one or more directions (Zhu et al., Vision Mamba,
/// 2024: 2; VMamba, 2024: 4).
struct EncoderParams {
  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::optional<AttentionParams> attention;
  std::int64_t full_layers = 0;  ///< layers whose attention sees everything, whatever its pattern
  std::optional<StateParams> state;
  std::int64_t directions = 1;  ///< scans of the state over the patches between one pair of projections
  std::optional<DenseParams> dense;
  std::optional<MoeParams> moe;
  NormParams norms;

  std::int64_t patch = 1;         ///< pixels a side
  std::int64_t patch_height = 0;  ///< where patches are not square (a spectrogram's column); 0 = patch
  std::int64_t frames = 1;        ///< video frames per patch; a still image fills them all
  std::int64_t channels = 3;
  bool patch_bias = false;
  std::int64_t image = 0;    ///< every image is scaled to so many pixels a side; 0 = it keeps its size
  std::int64_t merge = 1;    ///< so many patches a side become one token
  bool class_token = false;  ///< one more position in the encoder, not handed on
  std::vector<ProjectorMatrix> projector;
  std::int64_t other_parameters = 0;  ///< learned positions, further norms

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("layers", p.layers), v("hidden", p.hidden), v("attention", p.attention);
    v("full_layers", p.full_layers), v("state", p.state), v("directions", p.directions);
    v("dense", p.dense), v("moe", p.moe), v("norms", p.norms);
    v("patch", p.patch), v("patch_height", p.patch_height), v("frames", p.frames);
    v("channels", p.channels), v("patch_bias", p.patch_bias), v("image", p.image), v("merge", p.merge);
    v("class_token", p.class_token), v("projector", p.projector);
    v("other_parameters", p.other_parameters);
  }
  bool operator==(const EncoderParams&) const = default;

  /// Errors: ConfigError naming the field when fields contradict each other.
  void check() const;

  /// Positions the layers run on. Sides are rounded to whole tokens (Qwen2-VL, 2024, section 2.1).
  std::int64_t patches(Image size) const;
  /// Tokens of the language model.
  std::int64_t tokens(Image size) const;
  double parameters() const;
  double weight_bytes(const LoweringContext& ctx) const;
  /// Appends the kernel calls of one forward over a batch of images on one rank.
  void lower(std::span<const Image> images, const LoweringContext& ctx, KernelCalls& out) const;

 private:
  std::int64_t grid_tokens(Image size) const;
};

/// How many of a request's `images` have their first token in a chunk of its prompt, which begins with them,
/// `tokens_each` long: an engine encodes them before it (vLLM v1, core/sched/scheduler.py,
/// _try_schedule_encoder_inputs). What a prefix cache holds is not encoded again.
std::int64_t images_begun(std::int64_t images, Tokens prompt, Tokens tokens_each, const PrefillChunk& chunk);

}  // namespace orrery
