#include "ops/dtype.hpp"

#include <cctype>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace orrery {

DType parse_dtype(std::string_view text) {
  static constexpr std::pair<std::string_view, DType> names[] = {
      {"fp32", DType::fp32},       {"float32", DType::fp32},  {"float", DType::fp32},
      {"bf16", DType::bf16},       {"bfloat16", DType::bf16}, {"fp16", DType::fp16},
      {"float16", DType::fp16},    {"half", DType::fp16},     {"fp8", DType::fp8},
      {"fp8_e4m3", DType::fp8},    {"fp8_e5m2", DType::fp8},  {"float8_e4m3fn", DType::fp8},
      {"float8_e5m2", DType::fp8}, {"int8", DType::int8},     {"w8a8", DType::int8},
      {"int4", DType::int4},       {"w4a16", DType::int4},    {"fp4", DType::fp4},
      {"nvfp4", DType::fp4},       {"mxfp4", DType::fp4}};
  std::string word;
  for (const char c : text) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (word.starts_with("torch.")) word.erase(0, 6);
  for (const auto& [name, type] : names) {
    if (word == name) return type;
  }
  throw ConfigError("unknown number format '" + std::string(text) + "'",
                    suggestion(word, {"fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"}));
}

}  // namespace orrery
