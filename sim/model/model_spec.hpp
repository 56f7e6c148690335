#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/key_cap.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// Attention of one kind of layer (block AttnPattern + KvLayout of the catalogue, as far as dense decoders
/// need it).
struct AttentionParams {
  int heads = 0, kv_heads = 0;
  int head_dim = 0;
  Tokens window = 0;  ///< keys a query may see, itself included; 0 = all
  bool qkv_bias = false, output_bias = false;
  bool qk_norm = false;  ///< RMSNorm over each head's q and k
};

/// Feed-forward of one kind of layer.
struct FfnParams {
  std::int64_t width = 0;
  bool gated = true;  ///< SwiGLU/GeGLU: three matrices; else two
  bool bias = false;
};

/// `count` layers of one kind. Gemma-2 alternates two kinds; a plain Llama has one.
struct LayerKind {
  AttentionParams attention;
  FfnParams ffn;
  int norms = 2;  ///< RMSNorms over the hidden width per layer (Gemma-2: 4)
  int count = 0;
};

/// One LLM: sizes from its config.json through its family map, nothing about devices or engines.
struct ModelSpec {
  std::string name;    ///< "llama-3.1-8b", or the folder's name
  std::string source;  ///< path of the config.json
  std::string family;  ///< model_type
  std::int64_t hidden = 0;
  std::int64_t vocab = 0;
  bool tied_embeddings = false;
  Tokens max_model_len = 0;
  Precision native;                 ///< as the checkpoint is stored
  std::vector<LayerKind> kinds;     ///< distinct kinds
  std::vector<int> pattern;         ///< kind of each layer, in order
  std::vector<std::string> notes;   ///< what was assumed, for `orrery models show`
  double published_parameters = 0;  ///< as its authors count them; 0 = unknown
  std::string reference;            ///< where that count and the sizes were published

  int layers() const { return static_cast<int>(pattern.size()); }
  /// Distinct caps on the keys of attention, ascending, without "all". BatchShape::windowed_context follows
  /// this order.
  std::vector<KeyCap> caps() const;
  /// Parameters as published model cards count them: embeddings once when tied.
  double parameters() const;
  /// Bytes of parameters on one rank of the split.
  double weight_bytes(const LoweringContext& ctx) const;
  /// Bytes of KV cache for one more token of full context, on one rank: what the block manager allocates.
  double kv_bytes_per_token(const LoweringContext& ctx) const;
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
