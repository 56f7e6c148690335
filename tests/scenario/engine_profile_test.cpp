#include "scenario/engine_profile.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>

using namespace orrery;

namespace {

std::string message(const std::string& name) {
  try {
    load_engine(name);
  } catch (const ConfigError& e) {
    return std::string(e.what()) + " | " + e.hint();
  }
  return "";
}

std::string shipped_file(const std::string& name) {
  std::ifstream in(load_engine(name).path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The shipped vLLM profile with one piece of text replaced, in a file of its own.
struct EditedProfile {
  std::filesystem::path file;
  EditedProfile(const std::string& from, const std::string& to) {
    auto text = shipped_file("vllm@0.15.1");
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
    file = std::filesystem::temp_directory_path() /
           ("orrery-engine-" + std::to_string(std::hash<std::string>{}(to)) + ".json");
    std::ofstream(file) << text;
  }
  ~EditedProfile() { std::filesystem::remove(file); }
};

}  // namespace

TEST_CASE("which engine and version does a name mean?") {
  CHECK(load_engine("vllm").id() == "vllm@0.15.1");
  CHECK(load_engine("vllm@0.14.0").id() == "vllm@0.14.0");
  CHECK(load_engine("vllm@0.29").id() == "vllm@0.29.0");
  CHECK(load_engine("sglang").scheduler == "sglang");
  CHECK(load_engine("trtllm").scheduler == "trtllm");
  CHECK(load_engine("hf-static").scheduler == "static");
  CHECK(load_engine("vllm@0.6").scheduler == "vllm-v0");
  CHECK(load_engine("s3").scheduler == "s3");
  CHECK(load_engine("lightllm").scheduler == "lightllm");
}

TEST_CASE("is an unknown engine or version answered with the known ones?") {
  CHECK_THAT(message("vlm"), Catch::Contains("unknown engine 'vlm'") && Catch::Contains("vllm"));
  CHECK_THAT(message("vllm@9.9"),
             Catch::Contains("no profile of vllm version '9.9'") && Catch::Contains("0.6.6, 0.14.0, 0.15.1"));
  CHECK_THAT(message("vllm@0.1"), Catch::Contains("no profile"));  // a prefix of digits is not a version
}

TEST_CASE("are the engines listed with versions in numeric order?") {
  const auto all = list_engines();
  REQUIRE(all.size() == 10);
  const EngineListing& vllm = all.back();
  CHECK(vllm.name == "vllm");
  CHECK(vllm.versions ==
        std::vector<std::string>{"0.2.0", "0.5.4", "0.6.6", "0.14.0", "0.15.1", "0.19.0", "0.29.0"});
  CHECK(vllm.default_version == "0.15.1");
}

// EngineArgs.get_batch_defaults: at least 70 GiB and no "a100" in the name.
TEST_CASE("does vLLM give an A100 with 80 GB the small defaults?") {
  const auto vllm = load_engine("vllm");
  const auto h100 = vllm.settings_for(load_device("h100"));
  CHECK(h100.max_num_seqs == 1024);
  CHECK(h100.max_num_batched_tokens == 8192);
  const auto a100 = vllm.settings_for(load_device("a100"));
  CHECK(a100.max_num_seqs == 256);
  CHECK(a100.max_num_batched_tokens == 2048);
  CHECK(vllm.settings_for(load_device("l40s")).max_num_batched_tokens == 2048);
  CHECK(vllm.settings_for(load_device("mi300x")).max_num_seqs == 1024);
  CHECK(load_engine("sglang").settings_for(load_device("h100")).scheduling_policy == "lpm");
}

TEST_CASE("is the boundary of a device class at least, not more than?") {
  const auto vllm = load_engine("vllm");
  auto card = load_device("l40s");
  card.memory_bytes = 70 * kGiB;
  CHECK(vllm.settings_for(card).max_num_seqs == 1024);
  card.memory_bytes = 70 * kGiB - 1;
  CHECK(vllm.settings_for(card).max_num_seqs == 256);
}

TEST_CASE("does each resolved value say where it came from?") {
  const auto s = load_engine("vllm").settings_for(load_device("h100"));
  CHECK(s.origin.at("max_num_seqs") == "engine default vllm@0.15.1 (>=70 GiB, not a100)");
  CHECK(s.origin.at("block_size") == "engine default vllm@0.15.1");
}

TEST_CASE("do the versions differ where the engines did?") {
  const auto h100 = load_device("h100");
  CHECK(load_engine("vllm@0.15.1").settings_for(h100).gpu_memory_utilization == 0.9);
  CHECK(load_engine("vllm@0.29.0").settings_for(h100).gpu_memory_utilization == 0.92);
  CHECK_FALSE(load_engine("vllm@0.15.1").settings_for(h100).scheduler_reserve_full_isl);
  CHECK(load_engine("vllm@0.29.0").settings_for(h100).scheduler_reserve_full_isl);
}

// 1, 2, 4, 8..248 by 8, 256..max by 16; max = min(2 x max_num_seqs, 512, max_num_batched_tokens).
TEST_CASE("which CUDA graphs does vLLM capture?") {
  const auto vllm = load_engine("vllm");
  const auto h100 = load_device("h100");
  auto s = vllm.settings_for(h100);
  const auto full = vllm.kernel_plan(s, h100, {}).graph_sizes;
  CHECK(full.size() == 3 + 31 + 17);
  CHECK(full.front() == 1);
  CHECK(full.back() == 512);
  s.max_num_seqs = 100;
  CHECK(vllm.kernel_plan(s, h100, {}).graph_sizes.back() == 200);
  s.max_cudagraph_capture_size = 2048;
  s.capture_size_given = true;
  CHECK(vllm.kernel_plan(s, h100, {}).graph_sizes.back() == 2048);
  s.max_num_batched_tokens = 128;
  CHECK(vllm.kernel_plan(s, h100, {}).graph_sizes.back() == 128);
  s.enforce_eager = true;
  CHECK(vllm.kernel_plan(s, h100, {}).graph_sizes.empty());
}

TEST_CASE("up to which payload does all-reduce use the custom kernel?") {
  const auto vllm = load_engine("vllm");
  const auto limits = [&](const char* device, bool disabled = false) {
    const auto d = load_device(device);
    auto s = vllm.settings_for(d);
    s.disable_custom_all_reduce = disabled;
    return vllm.kernel_plan(s, d, {}).custom_all_reduce_max_bytes;
  };
  CHECK(limits("h100").at(8) == 256 * 1024);
  CHECK(limits("h100").at(2) == 8 * 1024 * 1024);
  CHECK(limits("a100").at(8) == 8 * 1024 * 1024);
  CHECK(limits("l40s").count(2) == 1);  // without NVLink two cards at most
  CHECK(limits("l40s").count(4) == 0);
  CHECK(limits("h100", true).empty());
}

TEST_CASE("do overridden settings reach the plan, the scheduler and the memory policy?") {
  const auto vllm = load_engine("vllm");
  const auto h100 = load_device("h100");
  auto s = vllm.settings_for(h100);
  s.max_num_seqs = 128;
  s.max_num_batched_tokens = 1024;
  s.gpu_memory_utilization = 0.8;
  s.async_scheduling = false;
  CHECK_FALSE(vllm.kernel_plan(s, h100, {}).async_scheduling);
  CHECK(vllm.scheduler_config(s, 4096).max_num_seqs == 128);
  CHECK(vllm.scheduler_config(s, 4096).max_model_len == 4096);
  CHECK(vllm.memory_policy(s).fraction == 0.8);
  CHECK(vllm.memory_policy(s).max_num_seqs == 128);
  KvCapacity kv;
  kv.blocks = 1000;
  CHECK(vllm.kv_config(s, kv).blocks == 1000);
  CHECK(vllm.front_end().in.value > 0);
}

TEST_CASE("does every shipped version load, with a source for every figure?") {
  for (const auto& engine : list_engines()) {
    CHECK_FALSE(engine.help.empty());
    for (const auto& version : engine.versions) {
      INFO(engine.name << "@" << version);
      const auto p = load_engine(engine.name + "@" + version);
      CHECK(p.version == version);
      CHECK(p.figures.size() > 40);
      for (const auto& f : p.figures) CHECK_FALSE(f.source.empty());
      for (const auto& device : list_devices()) {
        const auto s = p.settings_for(device);
        CHECK(s.max_num_seqs > 0);
        CHECK(s.max_num_batched_tokens > 0);
        CHECK(s.gpu_memory_utilization > 0.5);
        CHECK(s.gpu_memory_utilization <= 1);
      }
    }
  }
}

TEST_CASE("is a bad version file refused by key?") {
  CHECK_THAT(message(EditedProfile(R"("block_size")", R"("blok_size")").file.string()),
             Catch::Contains("'block_size' has no value") || Catch::Contains("unknown key 'blok_size'"));
  CHECK_THAT(
      message(EditedProfile(R"({"value": 16, "source": "code"})", R"({"value": "x", "source": "code"})")
                  .file.string()),
      Catch::Contains("block_size") && Catch::Contains("wrong type"));
  CHECK_THAT(message(EditedProfile(R"("of_total")", R"("of_all")").file.string()),
             Catch::Contains("unknown meaning 'of_all'"));
  CHECK_THAT(message(EditedProfile(R"("source": "assumed")", R"("source": "hearsay")").file.string()),
             Catch::Contains("'hearsay' is not listed"));
}
