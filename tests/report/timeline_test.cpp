#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include <catch2/catch.hpp>
#include <protozero/pbf_reader.hpp>
#include <unistd.h>

#include "base/error.hpp"
#include "report/events.hpp"
#include "report/writers.hpp"

using namespace orrery;
using namespace orrery::testing;

namespace {

struct Event {
  std::uint64_t time = 0, track = 0;
  int type = 0;
  std::string name;
  std::map<std::string, std::int64_t> args;
  double value = 0;
};
struct Track {
  std::string name;
  std::uint64_t parent = 0;
};
struct Decoded {
  std::map<std::uint64_t, Track> tracks;
  std::map<std::uint64_t, std::string> names, args;
  std::vector<Event> events;

  std::vector<Event> on(const std::string& track) const {
    std::vector<Event> out;
    for (const auto& e : events) {
      if (tracks.at(e.track).name == track) out.push_back(e);
    }
    return out;
  }
};

// The numbers below are those of perfetto's .proto files, written apart from those in the writer.
void decode_names(protozero::pbf_reader data, std::map<std::uint64_t, std::string>& names) {
  std::uint64_t iid = 0;
  while (data.next()) {
    if (data.tag() == 1) {
      iid = data.get_uint64();
    } else {
      names[iid] = data.get_string();
    }
  }
}

Track decode_track(protozero::pbf_reader d, std::uint64_t& uuid) {
  Track t;
  while (d.next()) {
    if (d.tag() == 1) {
      uuid = d.get_uint64();
    } else if (d.tag() == 2) {
      t.name = d.get_string();
    } else if (d.tag() == 5) {
      t.parent = d.get_uint64();
    } else if (d.tag() == 3) {
      auto process = d.get_message();
      while (process.next()) {
        if (process.tag() == 6) {
          t.name = process.get_string();
        } else {
          process.skip();
        }
      }
    } else {
      d.skip();
    }
  }
  return t;
}

Event decode_event(protozero::pbf_reader e, Decoded& trace) {
  Event out;
  while (e.next()) {
    switch (e.tag()) {
      case 9:
        out.type = e.get_int32();
        break;
      case 11:
        out.track = e.get_uint64();
        break;
      case 10:
        out.name = trace.names.at(e.get_uint64());
        break;
      case 23:
        out.name = e.get_string();
        break;
      case 30:
        out.value = static_cast<double>(e.get_int64());
        break;
      case 44:
        out.value = e.get_double();
        break;
      case 4: {
        auto a = e.get_message();
        std::string key;
        while (a.next()) {
          if (a.tag() == 1) {
            key = trace.args.at(a.get_uint64());
          } else {
            out.args[key] = a.get_int64();
          }
        }
        break;
      }
      default:
        e.skip();
    }
  }
  return out;
}

Decoded decode(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  const std::string all = bytes.str();
  Decoded out;
  protozero::pbf_reader trace(all);
  while (trace.next(1)) {
    auto packet = trace.get_message();
    std::uint64_t time = 0;
    while (packet.next()) {
      if (packet.tag() == 8) {
        time = packet.get_uint64();
      } else if (packet.tag() == 12) {
        auto interned = packet.get_message();
        while (interned.next())
          decode_names(interned.get_message(), interned.tag() == 2 ? out.names : out.args);
      } else if (packet.tag() == 60) {
        std::uint64_t uuid = 0;
        const auto track = decode_track(packet.get_message(), uuid);
        out.tracks[uuid] = track;
      } else if (packet.tag() == 11) {
        out.events.push_back(decode_event(packet.get_message(), out));
        out.events.back().time = time;
      } else {
        packet.skip();
      }
    }
  }
  return out;
}

struct TempFile {
  std::string path = (std::filesystem::temp_directory_path() /
                      ("orrery_timeline_" + std::to_string(::getpid()) + ".pftrace"))
                         .string();
  ~TempFile() { std::remove(path.c_str()); }
};

void tell(Timeline& t, int requests) {
  for (int i = 0; i < requests; ++i) {
    const Ps start = ms(100.0 * i);
    t.on_mixed_step(mixed_step(start + ms(2), ms(10), 0, {{i, 100, 0, true}}));
    auto run = decode_run(start + ms(12), ms(5), Ps(1'000'000), 4, 1, 0);
    run.load.kv_blocks_used = 250;
    t.on_decode_run(run);
    auto r = record(i, start, ms(2), ms(10), ms(5), 5);
    r.done = run.end();
    t.on_request_done(r);
  }
}

}  // namespace

TEST_CASE("can a Perfetto reader follow the timeline?") {
  TempFile file;
  TimelineOptions options;
  options.replica_names = {"replica 0 (h200-sxm tp1)"};
  Timeline timeline(file.path, options);
  tell(timeline, 3);
  timeline.on_preemption(1, {}, ms(290));
  timeline.on_end(ms(300));
  const auto trace = decode(file.path);

  SECTION("every event is on a track that was described, below its replica") {
    for (const auto& e : trace.events) {
      REQUIRE(trace.tracks.count(e.track) == 1);
      CHECK(trace.tracks.at(trace.tracks.at(e.track).parent).name == "replica 0 (h200-sxm tp1)");
    }
  }
  SECTION("on each track times do not decrease and slices nest") {
    std::map<std::uint64_t, std::uint64_t> last;
    std::map<std::uint64_t, int> depth;
    for (const auto& e : trace.events) {
      CHECK(e.time >= last[e.track]);
      last[e.track] = e.time;
      depth[e.track] += e.type == 1 ? 1 : e.type == 2 ? -1 : 0;
      CHECK(depth[e.track] >= 0);
      CHECK(depth[e.track] <= 2);
    }
    for (const auto& [track, open] : depth) CHECK(open == 0);
  }
  SECTION("a request holds its phases") {
    const auto events = trace.on("requests");
    REQUIRE(events.size() == 3 * 8);
    CHECK(events[0].name == "req 0 · 100 → 5");
    CHECK(events[0].args.at("prompt_tokens") == 100);
    CHECK(events[1].name == "queued");
    CHECK(events[2].time == 2'000'000);  // ns
    CHECK(events[3].name == "prefill");
    CHECK(events[5].name == "decode");
    CHECK(events[7].time == 32'006'000);  // 12 ms + 4 * 5 ms + 6 slopes of 1 us
  }
  SECTION("steps and counters say what ran") {
    const auto steps = trace.on("engine steps");
    REQUIRE(steps.size() == 3 * 4 + 1);
    CHECK(steps[0].name == "mixed step");
    CHECK(steps[0].args.at("prefill_tokens") == 100);
    CHECK(steps[2].name == "decode run");
    CHECK(steps[2].args.at("steps") == 4);
    CHECK(steps.back().name == "preemption");
    const auto kv = trace.on("KV used");
    REQUIRE(kv.size() >= 1);
    CHECK(kv[0].value == Approx(25.0));
    const auto running = trace.on("running");
    CHECK(running.front().value == 1);
    CHECK(running[1].time == 32'006'000);  // idle between requests shows as zero
    CHECK(running[1].value == 0);
    CHECK(running.back().value == 0);
  }
}

TEST_CASE("does the timeline obey its detail, window and limit?") {
  TempFile file;
  TimelineOptions options;
  SECTION("single steps") {
    options.detail = TimelineDetail::steps;
    Timeline timeline(file.path, options);
    tell(timeline, 1);
    timeline.on_end(ms(100));
    const auto steps = decode(file.path).on("engine steps");
    REQUIRE(steps.size() == 2 * 5);
    CHECK(steps[9].time - steps[8].time == 5'003'000);  // the fourth step: three slopes longer
  }
  SECTION("a window") {
    options.start = ms(100), options.end = ms(200);
    Timeline timeline(file.path, options);
    tell(timeline, 3);
    timeline.on_end(ms(300));
    const auto requests = decode(file.path).on("requests");
    REQUIRE(requests.size() == 8);
    CHECK(requests[0].name == "req 1 · 100 → 5");
    CHECK(timeline.note().empty());
  }
  SECTION("a limit, with a note") {
    options.max_slices = 6;
    Timeline timeline(file.path, options);
    tell(timeline, 3);
    timeline.on_end(ms(300));
    CHECK(timeline.slices() == 6);
    CHECK(decode(file.path).on("requests").size() == 8);
    CHECK_THAT(timeline.note(), Catch::StartsWith("timeline.pftrace stops at 0.102 s"));
  }
  CHECK_THROWS_AS(parse_timeline_detail("kernels"), ConfigError);
}
