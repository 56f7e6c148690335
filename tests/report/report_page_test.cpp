#include "report/report_page.hpp"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "base/error.hpp"
#include "report/schema.hpp"

using namespace orrery;
namespace fs = std::filesystem;

namespace {

struct RunFolder {
  std::string path = (fs::temp_directory_path() / ("orrery_page_" + std::to_string(::getpid()))).string();
  RunFolder() { fs::create_directories(path); }
  ~RunFolder() { fs::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path + "/" + name) << text;
  }
};

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t n = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("can data of a run end the script element that holds it?") {
  OrderedJson data;
  data["summary"] = {{"label", "</script><script>alert(1)</script><!-- <b> \xe2\x80\xa8"}};
  const std::string page = report_page(data), without = report_page(OrderedJson::object());
  CHECK(count(page, "</script") == count(without, "</script"));
  CHECK(count(page, "<!--") == count(without, "<!--"));
  const auto start = page.find('>', page.find("id=\"orrery-data\"")) + 1;
  const auto text = page.substr(start, page.find("</script>", start) - start);
  CHECK(OrderedJson::parse(text) == data);
}

TEST_CASE("does the page ask nothing of a network?") {
  const std::string page = report_page(OrderedJson::object());
  for (const char* word : {"<link rel=\"stylesheet\"", "<script src", "@import", "fetch(", "XMLHttpRequest"})
    CHECK(count(page, word) == 0);
  CHECK(count(page, "Content-Security-Policy") == 1);
  CHECK(page.size() < 500'000);
}

TEST_CASE("is a run that was cut short shown as far as it came, and what is missing named?") {
  RunFolder folder;
  folder.write("requests.csv", "id,arrival_s\n0,0.1");
  folder.write("timeseries.csv", "t_s,running\n0,2\n1,3.5\n2,1");
  folder.write("summary.json", "{\"completed\": 3, \"dura");  // the disk was full
  const OrderedJson data = read_run_directory(folder.path);
  for (const auto& e : Schema("report.schema.json").errors(Schema::Json::parse(data.dump()))) FAIL_CHECK(e);
  CHECK(data["missing"] == OrderedJson({"summary.json", "manifest.json", "details.json"}));
  CHECK(data["summary"].is_null());
  CHECK(data["timeseries"]["running"] == OrderedJson({2.0, 3.5, 1.0}));
  write_report(data, folder.path + "/report.html");
  CHECK(fs::file_size(folder.path + "/report.html") > 10'000);
}

TEST_CASE("is a row that was being written left out?") {
  RunFolder folder;
  folder.write("timeseries.csv", "t_s,running,waiting\n0,2,1\n1,3");
  CHECK(read_run_directory(folder.path)["timeseries"]["t_s"] == OrderedJson({0.0}));
}

TEST_CASE("is a long series thinned by means?") {
  RunFolder folder;
  std::string text = "t_s,running\n";
  for (int i = 0; i < 1200; ++i) text += std::to_string(i) + "," + std::to_string(i % 2) + "\n";
  folder.write("timeseries.csv", text);
  const OrderedJson series = read_run_directory(folder.path)["timeseries"];
  REQUIRE(series["running"].size() == 600);
  for (const auto& value : series["running"]) CHECK(value.get<double>() == 0.5);
  CHECK(series["t_s"][1] == 2.0);
}

TEST_CASE("do equal runs in different folders give equal pages?") {
  RunFolder folder;
  const auto page = [&](const std::string& out, const char* host) {
    folder.write("manifest.json", R"({"argv": ["orrery", "run", "-m", "x", "--out", ")" + out +
                                      R"(", "--out=y", "--seed", "1"], "host": ")" + host +
                                      R"(", "wall_s": 1})");
    return read_run_directory(folder.path);
  };
  const OrderedJson a = page("a", "one"), b = page("b", "two");
  CHECK(a == b);
  CHECK(a["manifest"]["argv"] == OrderedJson({"orrery", "run", "-m", "x", "--seed", "1"}));
}

TEST_CASE("is a folder without a run refused?") {
  RunFolder folder;
  CHECK_THROWS_AS(read_run_directory(folder.path), ConfigError);
  CHECK_THROWS_WITH(read_run_directory("/no/such/folder"), Catch::Contains("/no/such/folder"));
}
