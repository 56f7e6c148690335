#pragma once

#include <map>
#include <string>
#include <vector>

namespace orrery {

/// SGLang's --speculative-* arguments ("algorithm", "num-steps", "eagle-topk", "num-draft-tokens",
/// "draft-model-path", by their last words) as vLLM's speculative_config (speculation.hpp), JSON; "" without
/// an algorithm. Chains alone: with more than one branch a step (eagle-topk) SGLang drafts a tree.
/// `warnings` gains what is taken otherwise than SGLang does it. Errors: ConfigError (usage) naming the
/// argument.
std::string sglang_speculation(const std::map<std::string, std::string>& given,
                               std::vector<std::string>& warnings);

/// The speculative_config of a TensorRT-LLM options file (YAML; --extra_llm_api_options, --config), the same
/// way; "" without one. Other options of the file are named in a warning. Errors: ConfigError naming the file
/// and the key.
std::string trtllm_speculation(const std::string& path, std::vector<std::string>& warnings);

}  // namespace orrery
