#include "base/registry.hpp"

#include <catch2/catch.hpp>

#include "base/rng.hpp"

using namespace orrery;

namespace {
struct Colours {
  static constexpr const char* kind = "colour";
  using Factory = int;
};
const Registration<Colours> red{"red", "as blood", 1};
const Registration<Colours> blue{"blue", "as the sea", 2};
}  // namespace

TEST_CASE("does a registry list its entries by name, whatever the order of linking?") {
  CHECK(Registry<Colours>::names() == std::vector<std::string>{"blue", "red"});
  CHECK(Registry<Colours>::find("red").make == 1);
}

TEST_CASE("does an unknown name get the nearest known one?") {
  try {
    Registry<Colours>::find("bleu");
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(std::string(e.what()) == "unknown colour 'bleu'");
    CHECK(e.hint() == "did you mean 'blue'?");
  }
}

TEST_CASE("are streams of one seed independent by name and repeatable?") {
  Rng a(1, "arrivals"), b(1, "lengths"), again(1, "arrivals");
  const auto first = a.next();
  CHECK(first == again.next());
  CHECK(first != b.next());
  double sum = 0;
  for (int i = 0; i < 100000; ++i) sum += a.gamma(0.5, 2.0);
  CHECK(sum / 100000 == Approx(1.0).margin(0.02));  // mean of a gamma is shape * scale
}
