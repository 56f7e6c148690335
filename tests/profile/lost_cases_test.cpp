#include "lost_cases.hpp"

#include <filesystem>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "ops/kernel_classes.hpp"

using namespace orrery;
using namespace orrery::profile;
namespace fs = std::filesystem;

TEST_CASE("does running again get past a case that took the GPU down, and its component after two?",
          "[profile]") {
  const std::string folder =
      (fs::temp_directory_path() / ("orrery-lost-" + std::to_string(::getpid()))).string();
  fs::create_directories(folder);
  const auto job = [](const std::string& component, double m) {
    Job j;
    j.component = component;
    j.what.call = make_call(kGemm, {m, 64, 64}, DType::bf16, DType::bf16);
    return j;
  };
  LostCases(folder).add(job("gemm", 1));
  CHECK(LostCases(folder).has(job("gemm", 1)));
  CHECK_FALSE(LostCases(folder).has(job("gemm", 2)));
  LostCases(folder).add(job("gemm", 2));
  CHECK(LostCases(folder).has(job("gemm", 3)));
  CHECK_FALSE(LostCases(folder).has(job("norm", 1)));
  LostCases(folder).add_checks("norm");
  CHECK(LostCases(folder).has(job("norm", 1)));
  CHECK(LostCases(folder).has_component("norm"));
  fs::remove_all(folder);
}
