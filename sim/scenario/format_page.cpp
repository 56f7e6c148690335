#include "scenario/format_page.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "cost/format_comparison.hpp"
#include "cost/roofline.hpp"

namespace orrery {

namespace {

constexpr const char* kDevice = "a100-sxm-80g";
constexpr const char* kModel = "llama-2-7b";
constexpr std::array<Tokens, 5> kContexts{128, 512, 1088, 2048, 4096};
constexpr std::array<std::int64_t, 8> kBatches{1, 2, 4, 8, 16, 32, 64, 128};

FormatComparison weight_only(const std::string& model, const DeviceProfile& device) {
  Precision w4a16;
  w4a16.weight = DType::int4;
  return {load_model(model), device, make_speed_of_light(device, topology_for(device)), {}, w4a16};
}

/// One row of a table: a name and a number each.
std::string row(const std::string& head, const std::vector<double>& gains) {
  std::string line = fmt::format("| {} |", head);
  for (const double gain : gains) line += fmt::format(" {:.2f} |", gain);
  return line + "\n";
}
std::string header(const std::string& corner, const std::vector<std::string>& columns) {
  std::string line = fmt::format("| {} |", corner), rule = "|---|";
  for (const auto& column : columns) line += fmt::format(" {} |", column), rule += "---:|";
  return line + "\n" + rule + "\n";
}
/// A bar from 1 (nothing gained) to 4, twenty characters per whole number.
std::string bar(const std::string& head, double gain) {
  const auto length = static_cast<std::size_t>(std::lround(std::clamp(gain - 1, 0.0, 3.0) * 20));
  return fmt::format("{:>14} |{:<60}| {:.2f}\n", head, std::string(length, '#'), gain);
}

std::string by_batch_and_context(FormatComparison& gain) {
  std::vector<std::string> columns;
  for (const Tokens context : kContexts) columns.push_back(fmt::format("context {}", context));
  std::string text = header("batch", columns), bars;
  for (const std::int64_t batch : kBatches) {
    std::vector<double> gains;
    for (const Tokens context : kContexts) gains.push_back(gain.decode(batch, context));
    text += row(fmt::to_string(batch), gains);
    bars += bar(fmt::format("batch {}", batch), gain.decode(batch, 1088));
  }
  return text + "\nAt context 1088, from 1 to 4 times:\n\n```\n" + bars + "```\n";
}

std::string by_prompt(FormatComparison& gain) {
  constexpr std::array<Tokens, 6> prompts{16, 64, 128, 256, 1024, 4096};
  std::vector<std::string> columns;
  std::vector<double> gains;
  for (const Tokens prompt : prompts) {
    columns.push_back(fmt::format("{} tokens", prompt));
    gains.push_back(gain.prefill(prompt));
  }
  return header("prompt", columns) + row(kModel, gains);
}

std::string by_model(const DeviceProfile& device) {
  constexpr std::array<const char*, 5> models{"qwen2.5-0.5b", "qwen2.5-1.5b", "llama-2-7b", "llama-2-13b",
                                              "llama-2-70b"};
  std::vector<std::string> columns;
  for (const std::int64_t batch : {1, 8, 32}) columns.push_back(fmt::format("batch {}", batch));
  std::string text = header("model, context 1088", columns);
  for (const char* name : models) {
    FormatComparison gain = weight_only(name, device);
    std::vector<double> gains;
    for (const std::int64_t batch : {1, 8, 32}) gains.push_back(gain.decode(batch, 1088));
    text += row(name, gains);
  }
  return text;
}

}  // namespace

std::string format_page() {
  const DeviceProfile device = load_device(kDevice);
  FormatComparison llama = weight_only(kModel, device);
  std::string page = "# What weight-only quantisation gains\n\n";
  page += fmt::format(
      "Time of a step with 16-bit weights over its time with 4-bit ones (int4 in groups of 128, arithmetic "
      "and\n"
      "KV cache in 16 bits: AWQ, GPTQ), {} on {} at the speed of light of its datasheet. Nothing here is a\n"
      "rule of the simulator: each number is two step prices divided. `tests/scenario/format_page_test.cpp`\n"
      "keeps this page what the code says.\n\n",
      kModel, device.name);
  page += "## Decoding: less with batch and length\n\n" + by_batch_and_context(llama);
  page += "\n## Prompts: nothing once they are bound by arithmetic\n\n" + by_prompt(llama);
  page += "\nKernels that widen weights as they go lose a little here, which a roofline does not see.\n";
  page += "\n## Larger models gain more\n\n" + by_model(device);
  page +=
      "\nThe vocabulary, which stays in 16 bits, is a smaller part of a larger model. With few KV heads "
      "(GQA,\n"
      "as in the 70B) a batch reads less beside its weights, and the gain lasts longer.\n";
  return page;
}

}  // namespace orrery
