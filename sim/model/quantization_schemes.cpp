#include "model/quantization_schemes.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace orrery {

namespace {

/// Share of the input features that LLM.int8() multiplies in 16 bits: "about 0.1%" (Dettmers et al., 2022,
/// section 1).
constexpr double kOutlierFeatures = 0.001;

std::int64_t group_size(JsonView& view, std::int64_t fallback) {
  const auto group = view.integer_or("group_size", fallback);
  if (group != -1 && (group < 1 || group > (1 << 20)))
    view.fail("group_size", fmt::format("expected -1 (a whole column) or 1 and above, found {}", group));
  return std::max<std::int64_t>(group, 0);
}

LinearFormat plain_format(DType weight, DType compute) {
  LinearFormat format;
  format.weight = weight, format.compute = compute;
  return format;
}

DType scheme_dtype(JsonView& view) {
  const auto bits = view.integer("num_bits");
  const bool floating = view.text_or("type", "int") == "float";
  if (bits == 8) return floating ? DType::fp8 : DType::int8;
  if (bits == 4) return floating ? DType::fp4 : DType::int4;
  view.fail("num_bits", fmt::format("expected 4 or 8, found {}", bits));
}

}  // namespace

void add_note(std::vector<std::string>& notes, std::string note) {
  if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(std::move(note));
}

LinearFormat grouped_format(DType weight, DType compute, std::int64_t group, bool zero_points) {
  LinearFormat format = plain_format(weight, compute);
  WeightScales scales = usual_scales(weight).value_or(WeightScales{});
  scales.rows = group, scales.zero_points = zero_points;
  if (weight == DType::fp4 && group == mx_scales().rows) scales = mx_scales();
  if (scales != usual_scales(weight)) format.scales = scales;
  return format;
}

LinearFormat scheme_format(JsonView view) {
  const DType weight = scheme_dtype(view);
  const auto usual = usual_scales(weight).value_or(WeightScales{});
  const std::string strategy = view.text_or("strategy", "");
  if (view.has("block_structure")) {
    LinearFormat format = plain_format(weight, weight);
    const auto block = view.numbers("block_structure");
    if (block.size() != 2 || block[0] < 1 || block[1] < 1)
      view.fail("block_structure", "expected two sizes of 1 and above");
    format.scales =
        WeightScales{static_cast<std::int64_t>(block[1]), static_cast<std::int64_t>(block[0]), 32};
    return format;
  }
  const bool whole = strategy == "channel" || strategy == "tensor" || strategy == "token";
  const auto group = whole ? 0 : group_size(view, usual.rows == 0 ? -1 : usual.rows);
  return grouped_format(weight, weight, group, !view.boolean_or("symmetric", true));
}

LinearFormat group_format(JsonView& group, DType activation) {
  LinearFormat format = scheme_format(group.object("weights"));
  auto input = group.object_if("input_activations");
  format.compute = input ? scheme_dtype(*input) : activation;
  return format;
}

LinearFormat algorithm_format(JsonView& view, const char* key, DType activation) {
  const std::string name = view.text(key);
  const auto grouped = [&](DType weight, DType compute, std::int64_t usual) {
    return grouped_format(weight, compute, group_size(view, usual), view.boolean_or("has_zero_point", false));
  };
  if (name == "FP8" || name == "FP8_PER_CHANNEL_PER_TOKEN") return plain_format(DType::fp8, DType::fp8);
  if (name == "NVFP4") return grouped(DType::fp4, DType::fp4, 16);
  if (name == "NVFP4_AWQ") return grouped(DType::fp4, DType::fp4, 16);
  if (name == "W4A16_NVFP4") return grouped(DType::fp4, activation, 16);
  if (name == "MXFP4") return grouped(DType::fp4, activation, 32);
  if (name == "W4A16_AWQ" || name == "INT4_AWQ") return grouped(DType::int4, activation, 128);
  if (name == "W4A8_AWQ") return grouped(DType::int4, DType::fp8, 128);
  if (name == "W8A8_SQ_PER_CHANNEL") return plain_format(DType::int8, DType::int8);
  if (name == "W8A16") return plain_format(DType::int8, activation);
  if (name == "FP8_PB_WO" || name == "FP8_PB_REAL") {
    LinearFormat format = plain_format(DType::fp8, DType::fp8);
    format.scales = block128_scales();
    return format;
  }
  view.fail(key, fmt::format("quantisation algorithm '{}' is not supported yet", name),
            "supported: FP8 NVFP4 MXFP4 W4A16_AWQ INT4_AWQ W4A8_AWQ W8A8_SQ_PER_CHANNEL W8A16 FP8_PB_WO "
            "MIXED_PRECISION");
}

/// fp8 with a scale per block (DeepSeek), per channel, or per tensor: the last two cost the same.
LinearFormat fp8_format(JsonView& view) {
  LinearFormat format;
  format.weight = format.compute = DType::fp8;
  if (!view.has("weight_block_size")) return format;
  const auto block = view.numbers("weight_block_size");
  if (block.size() != 2 || block[0] < 1 || block[1] < 1)
    view.fail("weight_block_size", "expected two sizes of 1 and above");
  format.scales = WeightScales{static_cast<std::int64_t>(block[1]), static_cast<std::int64_t>(block[0]), 32};
  return format;
}

/// AWQ (Lin et al., 2023) and GPTQ (Frantar et al., 2022): integers in groups, arithmetic in 16 bits.
LinearFormat packed_format(JsonView& view, const std::string& method, DType activation) {
  if (view.boolean_or("lm_head", false)) view.fail("lm_head", "a quantised LM head is not supported yet");
  const auto bits = view.integer(view.has("w_bit") ? "w_bit" : "bits");
  const bool few = method == "gptq" && (bits == 2 || bits == 3);
  if (bits != 4 && bits != 8 && !few)
    view.fail("bits", fmt::format("expected {}4 or 8, found {}", method == "gptq" ? "2, 3, " : "", bits));
  const auto group = view.integer_or(view.has("q_group_size") ? "q_group_size" : "group_size", 128);
  if (group != -1 && group < 1)
    view.fail("group_size", fmt::format("expected -1 or 1 and above, found {}", group));
  const bool zeros = method == "awq" ? view.boolean_or("zero_point", true) : !view.boolean_or("sym", true);
  LinearFormat format = grouped_format(bits == 8 ? DType::int8 : DType::int4, activation,
                                       std::max<std::int64_t>(group, 0), zeros);
  if (few) format.bits = static_cast<double>(bits);
  if (bits == 8 && format.scales) format.scales->bits = 16;
  return format;
}

/// bitsandbytes: LLM.int8(), or NF4 and FP4 with an fp32 scale per 64, itself quantised or not.
LinearFormat bitsandbytes_format(JsonView& view, DType activation) {
  LinearFormat format;
  view.ignore("_load_in_4bit"), view.ignore("_load_in_8bit"), view.ignore("bnb_4bit_quant_type");
  if (view.boolean_or("load_in_8bit", false)) {
    format.weight = format.compute = DType::int8;
    format.outliers = kOutlierFeatures;
    view.ignore("load_in_4bit"), view.ignore("bnb_4bit_use_double_quant");
    return format;
  }
  if (!view.boolean_or("load_in_4bit", false))
    view.fail("quant_method", "'bitsandbytes' with neither load_in_4bit nor load_in_8bit");
  format.weight = DType::int4, format.compute = activation;
  format.scales = double_quantised_scales();
  if (!view.boolean_or("bnb_4bit_use_double_quant", false)) format.scales->bits = 32;
  return format;
}

void read_kv_scheme(JsonView& view, const char* key, Precision& precision, std::vector<std::string>& notes) {
  if (!view.has(key)) return;
  const Json& raw = view.raw(key);
  DType format = precision.kv_cache;
  if (raw.is_object()) {
    auto scheme = view.object(key);
    format = scheme_dtype(scheme);
  } else {
    const std::string name = view.text(key);
    const std::pair<const char*, DType> known[] = {
        {"FP8", DType::fp8}, {"INT8", DType::int8}, {"NVFP4", DType::fp4}};
    const auto* found =
        std::find_if(std::begin(known), std::end(known), [&](const auto& k) { return name == k.first; });
    if (found == std::end(known)) {
      view.fail(key, fmt::format("KV cache format '{}' is not supported yet", name),
                "supported: FP8 INT8 NVFP4");
    }
    format = found->second;
  }
  precision.kv_cache = format;
  add_note(notes, fmt::format("the checkpoint asks for an {} KV cache", name(format)));
}

}  // namespace orrery
