#include "hw/device_profile.hpp"

#include <filesystem>
#include <fstream>
#include <set>

#include <catch2/catch.hpp>

using namespace orrery;

namespace {

/// A folder with the given device.json, removed at the end of the test.
struct TemporaryProfile {
  std::filesystem::path folder;
  explicit TemporaryProfile(const std::string& text)
      : folder(std::filesystem::temp_directory_path() /
               ("orrery-device-" + std::to_string(std::hash<std::string>{}(text)))) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "device.json") << text;
  }
  ~TemporaryProfile() { std::filesystem::remove_all(folder); }
  std::string path() const { return folder.string(); }
};

std::string card(const std::string& bandwidth, const std::string& extra = "") {
  return R"({"name": "card", "vendor": "v", "architecture": "a", "sources": {"sheet": "a datasheet"},
    "dense_tensor_flops_per_s": {"bf16": {"value": 1e14, "source": "sheet"}},
    "vector_flops_per_s": {"value": 1e13, "source": "sheet"},
    "memory_bandwidth_bytes_per_s": )" +
         bandwidth + R"(,
    "memory_bytes": {"value": 8e10, "source": "sheet"}, "l2_bytes": {"value": 4e7, "source": "sheet"},
    "sm_count": {"value": 100, "source": "sheet"}, "nvlink_bytes_per_s": {"value": 0, "source": "sheet"},
    "pcie_bytes_per_s": {"value": 3.2e10, "source": "sheet"}, "tdp_watts": {"value": 300, "source": "sheet"})" +
         extra + "}";
}

std::string message(const std::string& name_or_path) {
  try {
    load_device(name_or_path);
  } catch (const ConfigError& e) {
    return std::string(e.what()) + " | " + e.hint();
  }
  return "";
}

}  // namespace

TEST_CASE("which spellings of a device are understood?") {
  for (const auto* spelling : {"h100-sxm", "h100", "H100", "H100_SXM", "h100 sxm", "H100-SXM5"}) {
    CHECK(load_device(spelling).name == "h100-sxm");
  }
  CHECK(load_device("A100").name == "a100-sxm-80g");
  CHECK(load_device("h200").name == "h200-sxm");
}

TEST_CASE("is a mistyped device answered with the near one?") {
  CHECK_THAT(message("h20"), Catch::Contains("unknown GPU 'h20'") && Catch::Contains("h200"));
  CHECK_THAT(message("mi30x"), Catch::Contains("mi300x"));
  CHECK_THAT(message("tpu-v5p"), Catch::Contains("h100-sxm") && Catch::Contains("l40s"));
  CHECK_FALSE(message("").empty());
}

TEST_CASE("does every shipped device have what a roofline needs, from a source?") {
  const auto all = list_devices();
  CHECK(all.size() >= 13);
  std::set<std::string> spellings;
  for (const auto& d : all) {
    INFO(d.name);
    CHECK(std::filesystem::path(d.folder).filename() == d.name);
    CHECK(spellings.insert(d.name).second);
    for (const auto& a : d.aliases) CHECK(spellings.insert(a).second);
    CHECK(d.tensor_peak(DType::bf16) > d.vector_flops_per_s);
    CHECK(d.tensor_peak(DType::fp8) <= 2.03 * d.tensor_peak(DType::bf16));  // dense: never the sparse figure
    CHECK(d.tensor_peak(DType::fp4) <= 4.05 * d.tensor_peak(DType::bf16));
    CHECK(d.figures.size() >= 9);
    for (const auto& f : d.figures) CHECK_FALSE(f.source.empty());
  }
}

TEST_CASE("is the memory what the driver reports, not the name of the card?") {
  CHECK(load_device("a100").memory_bytes / kGiB == Approx(79.25).epsilon(1e-6));
  CHECK(load_device("h100").memory_bytes / kGiB == Approx(79.11).epsilon(1e-6));
  CHECK(load_device("h200").memory_bytes / kGiB == Approx(139.80).epsilon(1e-6));
  CHECK(load_device("b200").memory_bytes / kGiB == Approx(178.35).epsilon(1e-6));
}

TEST_CASE("which node joins the GPUs?") {
  const auto dgx = topology_for(load_device("h100"));
  CHECK(dgx.name == "dgx-h100");
  CHECK(dgx.gpu_link_bytes_per_s == 450e9);
  CHECK(dgx.all_to_all);
  CHECK(topology_for(load_device("a100")).name == "dgx-a100");
  CHECK(topology_for(load_device("a100-sxm-40g")).name == "dgx-a100-40g");

  const auto cards = load_device("l40s");
  const auto peers = topology_for(cards);
  CHECK(peers.device == "l40s");
  CHECK(peers.gpu_link_bytes_per_s == cards.pcie_bytes_per_s);
  CHECK_FALSE(peers.all_to_all);
}

TEST_CASE("can a device be added by a folder anywhere?") {
  const TemporaryProfile own(card(R"({"value": 2e12, "source": "sheet", "note": "HBM2e"})"));
  const auto d = load_device(own.path());
  CHECK(d.memory_bandwidth_bytes_per_s == 2e12);
  CHECK(d.tensor_peak(DType::fp8) == 0);
  CHECK(topology_for(d).gpu_link_bytes_per_s == 3.2e10);
}

TEST_CASE("is a bad profile refused with the place and the reason?") {
  CHECK_THAT(message(TemporaryProfile(card(R"({"value": 2e12})")).path()), Catch::Contains("source"));
  CHECK_THAT(message(TemporaryProfile(card(R"({"value": 2e12, "source": "shet"})")).path()),
             Catch::Contains("'shet' is not listed") && Catch::Contains("sheet"));
  CHECK_THAT(message(TemporaryProfile(card(R"({"value": -1, "source": "sheet"})")).path()),
             Catch::Contains("memory_bandwidth_bytes_per_s: must be above zero"));
  CHECK_THAT(message(TemporaryProfile(card("2e12")).path()), Catch::Contains("expected an object"));
  const std::string odd = R"(, "memory_gb": {"value": 80, "source": "sheet"})";
  CHECK_THAT(message(TemporaryProfile(card(R"({"value": 2e12, "source": "sheet"})", odd)).path()),
             Catch::Contains("unknown key 'memory_gb'"));
}
