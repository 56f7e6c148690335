#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/blocks.hpp"
#include "model/encoder.hpp"
#include "ops/key_cap.hpp"
#include "ops/kv_group.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// One LLM: sizes from its config.json through its family map, nothing about devices or engines.
struct ModelSpec {
  std::string name;    ///< "llama-3.1-8b", or the folder's name
  std::string source;  ///< path of the config.json
  std::string family;  ///< model_type
  std::int64_t hidden = 0;
  std::int64_t vocab = 0;
  bool tied_embeddings = false;
  std::int64_t other_parameters =
      0;                        ///< beside layers and vocabulary: learned positions, meta tokens, biases
  std::int64_t final_norm = 0;  ///< parameters of the norm before the LM head; 0 = no norm
  Tokens max_model_len = 0;
  int mtp_layers = 0;            ///< layers that predict further tokens (DeepSeek-V3), not among `kinds`
  Precision native;              ///< as the checkpoint is stored
  std::vector<LayerKind> kinds;  ///< distinct kinds
  std::vector<int> pattern;      ///< kind of each layer, in order
  bool has_embedding = true;     ///< false for a pipeline stage after the first (model/pipeline_stages.hpp)
  bool has_head = true;          ///< final norm, LM head and sampling; false for one before the last
  std::optional<EncoderParams> encoder;  ///< of images or sound, beside the layers
  std::vector<std::string> notes;        ///< what was assumed, for `orrery models show`
  double published_parameters = 0;       ///< as its authors count them; 0 = unknown
  double published_active = 0;           ///< those a token multiplies, as published; 0 = unknown
  std::string reference;                 ///< where that count and the sizes were published

  int layers() const { return static_cast<int>(pattern.size()); }
  /// Distinct caps on the keys of attention, ascending, without "all". BatchShape::windowed_context follows
  /// this order.
  std::vector<KeyCap> caps() const;
  bool has_experts() const;
  /// Parameters as published model cards count them: embeddings once when tied, an encoder included.
  double parameters() const;
  /// Parameters that one token multiplies, the LM head included, the input embedding not.
  double active_parameters() const;
  /// Bytes of parameters on one rank of the split, an encoder's included.
  double weight_bytes(const LoweringContext& ctx) const;
  /// What the layers keep of a sequence on one rank, layers that keep the same together: full attention
  /// first, caps ascending, states last.
  std::vector<KvGroup> kv_groups(const LoweringContext& ctx) const;
  /// Bytes of KV cache for one more token beyond every cap, on one rank.
  double kv_bytes_per_token(const LoweringContext& ctx) const;
  /// Bytes of KV cache and state that a sequence of `context` tokens keeps on one rank.
  double sequence_bytes(Tokens context, const LoweringContext& ctx) const;
  /// Kernel calls of one step on one rank; layers of one kind are emitted once with `repeat` = their number.
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const;
};

/// Finds a model by name or path. The name ignores case, '_' for '-', the HF organisation and the suffixes
/// -Instruct, -hf and -FP8; a path is a config.json or a folder holding one. Errors: ConfigError with near
/// names, or naming the architecture or field that is not understood.
ModelSpec load_model(const std::string& name_or_path);
std::vector<std::string> list_models();

/// Errors: ConfigError when heads or widths do not divide by the split.
void check_split(const ModelSpec& model, const Shard& shard);

}  // namespace orrery
