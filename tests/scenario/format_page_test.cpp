#include "scenario/format_page.hpp"

#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>

TEST_CASE("is docs/compression.md what the roofline says?") {
  std::ifstream in(std::string(ORRERY_SOURCE_DIR) + "/docs/compression.md");
  std::stringstream text;
  text << in.rdbuf();
  const bool same = text.str() == orrery::format_page();
  INFO("the page as it should be:\n" << orrery::format_page());
  CHECK(same);
}
