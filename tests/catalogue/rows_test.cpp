#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "method.hpp"
#include "model/blocks.hpp"
#include "ops/offload_policy.hpp"

using namespace orrery;

namespace {
/// The rows this catalogue promises: groups by their last number, and some of others.
std::set<std::string> promised_rows() {
  std::set<std::string> rows{"ENG-12", "ENG-23", "ENG-24", "ENG-25", "ENG-26",
                             "DIF-03", "DIF-04", "HW-11",  "HW-12"};
  const std::pair<const char*, int> groups[] = {{"BAS", 6},  {"LIN", 35}, {"SPA", 40},
                                                {"EFA", 14}, {"MOE", 18}, {"HYB", 6},
                                                {"MM", 4},   {"CMP", 22}, {"SRV", 20}};
  for (const auto& [group, last] : groups) {
    for (int i = 1; i <= last; ++i) {
      std::string id = std::string(group) + (i < 10 ? "-0" : "-") + std::to_string(i);
      rows.insert(std::move(id));
    }
  }
  return rows;
}

/// Ids that the names of test cases begin with.
std::set<std::string> tested_rows() {
  std::set<std::string> rows;
  for (const auto& file :
       std::filesystem::directory_iterator(std::string(ORRERY_SOURCE_DIR) + "/tests/catalogue")) {
    if (file.path().extension() != ".cpp") continue;
    std::ifstream in(file.path());
    std::stringstream text;
    text << in.rdbuf();
    const std::string source = text.str(), opening = "TEST_CASE(";
    for (auto at = source.find(opening); at != std::string::npos; at = source.find(opening, at + 1)) {
      const auto begin = source.find('"', at) + 1;
      rows.insert(source.substr(begin, source.find(' ', begin) - begin));
    }
  }
  return rows;
}
}  // namespace

TEST_CASE("catalogue: is every promised row written down, and tested under its id?") {
  std::set<std::string> written;
  for (const auto& method : load_methods()) written.insert(method.id);
  const auto tested = tested_rows();
  for (const auto& id : promised_rows()) {
    INFO(id);
    CHECK(written.count(id) == 1);
    CHECK(tested.count(id) == 1);
  }
}

TEST_CASE("catalogue: are all rows' blocks made of parameters that exist?") {
  for (const auto& method : load_methods()) {
    INFO(method.id);
    CHECK_FALSE(method.name.empty());
    CHECK_FALSE(method.works_when.empty());
    CHECK_FALSE(method.blocks.empty());
    for (const auto& [block, parameters] : method.blocks.items()) {
      if (block == "attention") CHECK_NOTHROW(read_block<AttentionParams>(parameters, method.id));
      if (block == "latent") CHECK_NOTHROW(read_block<LatentParams>(parameters, method.id));
      if (block == "state") CHECK_NOTHROW(read_block<StateParams>(parameters, method.id));
      if (block == "dense") CHECK_NOTHROW(read_block<DenseParams>(parameters, method.id));
      if (block == "offload") CHECK_NOTHROW(read_block<OffloadPolicy>(parameters, method.id));
      if (block == "moe") CHECK_NOTHROW(read_block<MoeParams>(parameters, method.id));
    }
  }
}
