#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "report/events.hpp"
#include "report/run_directory.hpp"
#include "report/schema.hpp"
#include "report/sha256.hpp"
#include "report/writers.hpp"

using namespace orrery;
using namespace orrery::testing;
namespace fs = std::filesystem;

namespace {

struct TempFolder {
  std::string path = (fs::temp_directory_path() / ("orrery_files_" + std::to_string(::getpid()))).string();
  TempFolder() { fs::create_directories(path); }
  ~TempFolder() { fs::remove_all(path); }
};

std::string contents(const std::string& path) {
  std::ifstream in(path);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("does requests.csv hold one row per request with its times to the microsecond?") {
  TempFolder folder;
  const std::string path = folder.path + "/requests.csv";
  RequestsCsv csv(path, parse_slo("ttft<=20ms"));
  auto r = record(7, seconds(1.5), ms(2), ms(10), ms(5.25), 5);
  r.cached_tokens = 16, r.replica = 3, r.preemptions = 1;
  csv.on_request_done(r);
  csv.on_request_done(record(8, seconds(2), ms(20), ms(0.0015), ms(0), 1));
  auto failed = record(9, seconds(3), ms(0), ms(0), ms(0), 4);
  failed.failure = "prompt of 9,000 tokens";
  csv.on_request_done(failed);
  csv.on_end(seconds(3));
  CHECK(contents(path) == std::string(RequestsCsv::header) +
                              "7,1.500000,1.500000,1.502000,1.512000,1.533000,100,16,5,3,1,12.000,5.250,1,\n"
                              "8,2.000000,2.000000,2.020000,2.020002,2.020002,100,0,1,0,0,20.002,,0,\n"
                              "9,3.000000,,,,,100,0,4,0,0,,,0,prompt of 9;000 tokens\n");
}

TEST_CASE("does timeseries.csv average load and count tokens per interval?") {
  TempFolder folder;
  const std::string path = folder.path + "/timeseries.csv";
  TimeseriesOptions options;
  SECTION("over all replicas") {
    options.kv_block_size = 4;
    TimeseriesCsv csv(path, options);
    const std::vector<ChunkEvent> chunks = {{0, 800, 0, true}};
    auto mixed = mixed_step(ms(0), ms(500), 0, chunks);
    mixed.load.waiting = 4;
    csv.on_mixed_step(mixed);
    auto run = decode_run(ms(500), ms(250), Ps(0), 4, 2);  // ends at 0.75, 1.0, 1.25, 1.5 s
    run.load.kv_blocks_used = 100;
    csv.on_decode_run(run);
    csv.on_end(ms(1500));
    CHECK(contents(path) ==
          "t_s,running,waiting,kv_used_pct,prompt_tok_s,gen_tok_s\n"
          "0,1.500,2.000,5.025,800.0,5.0\n"
          "1,2.000,0.000,10.150,0.0,8.0\n");  // half a second of two running and 4 tokens
  }
  SECTION("per replica") {
    options.per_replica = true;
    TimeseriesCsv csv(path, options);
    csv.on_decode_run(decode_run(ms(0), ms(250), Ps(0), 4, 2, 0));
    csv.on_decode_run(decode_run(ms(0), ms(500), Ps(0), 2, 1, 1));
    csv.on_end(ms(1000));
    CHECK(contents(path) ==
          "t_s,replica,running,waiting,kv_used_pct,prompt_tok_s,gen_tok_s\n"
          "0,0,2.000,0.000,0.025,0.0,8.0\n"
          "0,1,1.000,0.000,0.006,0.0,2.0\n");
  }
}

TEST_CASE("is a full disk reported in one sentence?") {
  if (!fs::exists("/dev/full")) return;
  OutputFile file("/dev/full", 16);
  CHECK(message_of([&] {
          file.write("more than fits the buffer at once");
          file.flush();
        }) == "cannot write /dev/full: No space left on device");
  RequestsCsv csv("/dev/full");
  csv.on_request_done(record(0, ms(0), ms(0), ms(1), ms(1), 2));
  CHECK_THAT(message_of([&] { csv.on_end(ms(2)); }), Catch::Contains("No space left"));
}

TEST_CASE("is a folder that cannot be written noticed before the run?") {
  TempFolder folder;
  CHECK_THAT(message_of([] { RunDirectory("/proc/orrery/run"); }),
             Catch::StartsWith("cannot create the folder"));
  std::ofstream(folder.path + "/file") << "x";
  CHECK_THAT(message_of([&] { RunDirectory(folder.path + "/file"); }), Catch::Contains("file"));
  if (::geteuid() != 0) {  // root may write anywhere
    ::chmod(folder.path.c_str(), 0500);
    CHECK_THAT(message_of([&] { RunDirectory(folder.path); }), Catch::Contains("Permission denied"));
    ::chmod(folder.path.c_str(), 0700);
  }
}

TEST_CASE("does the manifest say what is needed to run again?") {
  TempFolder folder;
  std::ofstream(folder.path + "/trace.csv") << "abc";
  Manifest m;
  m.argv = {"orrery", "run", "-m", "llama-3.1-8b"};
  m.config = {{"max_num_seqs", 256, "engine vllm@0.15.1"}, {"seed", 0, "default"}};
  m.inputs = {describe_input(folder.path + "/trace.csv")};
  m.seed = 42;
  const auto json = nlohmann::json::parse(to_json(m).dump());
  for (const auto& e : Schema("manifest.schema.json").errors(json)) FAIL_CHECK(e);
  CHECK(json["inputs"][0]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(json["config"]["max_num_seqs"]["origin"] == "engine vllm@0.15.1");

  RunDirectory run(folder.path + "/runs/one");
  run.write_json("manifest.json", to_json(m));
  CHECK(nlohmann::json::parse(contents(run.file("manifest.json"))) == json);
  CHECK_FALSE(fs::exists(run.file("manifest.json.partial")));
}

TEST_CASE("does a taken run name get a number?") {
  TempFolder folder;
  const auto name = run_directory_name(folder.path, "meta-llama/Llama-3.1-8B", 0);
  CHECK(name == folder.path + "/1970-01-01T0000-Llama-3.1-8B");
  fs::create_directories(name);
  CHECK(run_directory_name(folder.path, "Llama-3.1-8B", 0) == name + "-2");
}

TEST_CASE("are SHA-256 sums those of FIPS 180-4's examples?") {
  const auto hash = [](const std::string& text, std::size_t piece) {
    Sha256 sha;
    for (std::size_t i = 0; i < text.size(); i += piece) sha.update(std::string_view(text).substr(i, piece));
    return sha.hex();
  };
  CHECK(hash("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const std::string two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  CHECK(hash(two_blocks, 5) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(hash(std::string(1'000'000, 'a'), 777) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
