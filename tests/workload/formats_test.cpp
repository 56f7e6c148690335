#include <catch2/catch.hpp>

#include "workload/memory_trace.hpp"

using namespace orrery;

namespace {

const std::string azure_2023 =
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:04.0319600,3180,8";

std::string detected(const std::string& text) {
  return trace_format(ByteSource::memory(text, "trace"), TraceOptions{});
}

WorkloadSpec skipping() {
  WorkloadSpec spec;
  spec.read.on_bad_row = OnBadRow::skip;
  return spec;
}

}  // namespace

TEST_CASE("are the registered trace formats those of the reference?") {
  CHECK(Registry<TraceFormats>::names() == std::vector<std::string>{"apex", "azure", "burstgpt",
                                                                    "llmservingsim", "mooncake", "sharegpt",
                                                                    "vidur", "vllm-custom"});
}

TEST_CASE("is every format told by its first lines?") {
  CHECK(detected(azure_2023) == "azure");
  CHECK(detected("TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n") == "azure");
  CHECK(detected("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n") == "burstgpt");
  CHECK(detected("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n") == "vidur");
  CHECK(detected("start_offset_ns,context_tokens,generated_tokens\n") == "apex");
  CHECK(detected(R"({"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]})") ==
        "mooncake");
  CHECK(detected(R"({"text_input": "What is the capital of France?", "output_length": 20})") == "mooncake");
  CHECK(detected(R"({"input_toks": 1472, "output_toks": 133, "arrival_time_ns": 4059740})") ==
        "llmservingsim");
  CHECK(detected(R"({"prompt": "What is the capital of France?"})") == "vllm-custom");
  CHECK(detected("[\n {\"id\":\"a\",\"conversations\":[]}]") == "sharegpt");
  CHECK_THROWS_WITH(detected("hello\n"), Catch::Contains("cannot tell the trace's format"));
  CHECK_THROWS_WITH(detected(""), Catch::Contains("empty"));
}

TEST_CASE("does an Azure row become a request at its distance from the first?") {
  const auto all = replay(azure_2023);
  REQUIRE(all.size() == 2);
  CHECK(all[0].arrival == Ps(0));
  CHECK(all[1].arrival == ps_from_ms(52));
  CHECK(all[1].prompt_tokens == 3180);
  CHECK(all[1].output_tokens == 8);
  CHECK(all[1].id == 1);
  const auto multimodal =
      replay("TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15T12:00:00.269Z,2,9,7\n");
  CHECK(multimodal.at(0).prompt_tokens == 9);
  CHECK(multimodal.at(0).output_tokens == 7);
  CHECK(multimodal.at(0).images == 2);
  CHECK(all[0].images == 0);
}

TEST_CASE("does a bad field name its file, line, column, value and the way out?") {
  const auto e = replay_error(azure_2023 + "\r\n2023-11-16 18:22:10.1930000,874,12a\r\n");
  CHECK(what(e) == "GeneratedTokens: expected an integer, found \"12a\"");
  CHECK(e.file() == "trace");
  CHECK(e.line() == 4);
  CHECK(e.column() == 33);
  CHECK(e.excerpt() == "2023-11-16 18:22:10.1930000,874,12a");
  CHECK(e.hint().find("--on-bad-row skip") != std::string::npos);
  const auto binary = replay_error(azure_2023 + "\n\xff\x01,5,5\n");
  CHECK(what(binary) == "TIMESTAMP: expected a date and time like 2023-11-16 18:15:46.68, found \"??\"");
  CHECK(binary.excerpt() == "??,5,5");
}

TEST_CASE("is each kind of impossible row refused, and skipped when that is asked for?") {
  const std::string time = "2023-11-16 18:22:10.1930000";
  const std::vector<std::pair<std::string, std::string>> rows{
      {time + ",-5,10", "at least 1"},
      {time + ",0,10", "at least 1"},
      {time + ",10,0", "at least 1"},
      {time + ",4294967297,10", "at most 1,000,000,000"},
      {time + ",1e99,10", "at most 1,000,000,000"},
      {time + ",1e999,10", "at most 1,000,000,000"},
      {time + ",nan,10", "an integer"},
      {time + ",,10", "an integer"},
      {time + ",1.5,10", "an integer"},
      {time + ",10", "expected 3 fields, found 2"},
      {time + ",10,10,10", "expected 3 fields, found 4"},
      {"NaN,10,10", "a date and time"},
      {"2023-11-16 18:00:00,10,10", "earlier than the one before it"},
      {std::string("\0\x01\xff", 3), "expected 3 fields"},
  };
  std::string all = azure_2023 + "\n";
  for (const auto& [row, message] : rows) {
    INFO(row);
    CHECK_THAT(what(replay_error(azure_2023 + "\n" + row + "\n")), Catch::Contains(message));
    all += row + "\n";
  }
  all += time + ",7,7\n";
  CHECK(replay(all, skipping()).size() == 3);

  const auto source = make_trace_source(skipping(), ByteSource::memory(all, "trace"), 1);
  Request r;
  while (source->next(r)) continue;
  const auto notes = source->notes();
  CHECK(std::any_of(notes.begin(), notes.end(), [&](const std::string& n) {
    return n == std::to_string(rows.size()) +
                    " bad rows skipped; the first: trace:4: ContextTokens: expected at least 1, found \"-5\"";
  }));
}

TEST_CASE("are blank lines, floats of whole value and quoted fields taken?") {
  CHECK(replay(azure_2023 + "\n\n  \n2023-11-16 18:22:10,\"7\",9.0\n").at(2).output_tokens == 9);
}

TEST_CASE("does a missing column list those that are there?") {
  WorkloadSpec spec;
  spec.read.format = "azure";
  const auto e = replay_error("TIMESTAMP,Context,GeneratedTokens\n", spec);
  CHECK(what(e) == "no column 'ContextTokens'");
  CHECK(e.hint() == "the header has: TIMESTAMP, Context, GeneratedTokens");
  spec.read.format = "azur";
  CHECK(replay_error("", spec).hint() == "did you mean 'azure'?");
}

TEST_CASE("are both BurstGPT headers read, and failed requests dropped and counted?") {
  const std::string old_header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";
  const std::string new_header =
      "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n";
  const auto a = replay(old_header +
                        "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,10,0,10,API log\n"
                        "46.5,GPT-4,1087,230,1317,API log\n");
  REQUIRE(a.size() == 2);
  CHECK(a[1].arrival == ps_from_ms(41'500));
  CHECK(a[1].prompt_tokens == 1087);
  const auto b = replay(new_header + "5,17,2.5,ChatGPT,472,18,490,Conversation log\n");
  CHECK(b.at(0).output_tokens == 18);

  const std::string failed = old_header + "5,ChatGPT,472,0,472,API log\n6,ChatGPT,472,9,481,API log\n";
  const auto source = make_trace_source({}, ByteSource::memory(failed, "trace"), 1);
  Request r;
  CHECK(source->next(r));
  CHECK_THAT(source->notes().at(1), Catch::Contains("1 rows without response tokens"));
  CHECK_THAT(what(replay_error(old_header + "5,ChatGPT,472,0,472,API log\n")),
             Catch::Contains("no requests"));
  CHECK_THAT(what(replay_error(old_header)), Catch::Contains("no requests"));
}

TEST_CASE("are Vidur's timed and length-only files read?") {
  const auto timed =
      replay("arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n4.314579,396,109\n");
  CHECK(timed.at(1).arrival == Ps(4'314'579'000'000));
  WorkloadSpec spec;
  spec.request_rate = 2;
  spec.arrivals.process = "constant";
  const auto untimed =
      replay("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n1,2,3,0.5\n4,5,9,0.8\n", spec);
  CHECK(untimed.at(1).arrival == ps_from_ms(500));
  CHECK(untimed.at(1).prompt_tokens == 4);
}

TEST_CASE("are LLMServingSim's traces and recorded runs read, agentic lines refused by name?") {
  const auto all = replay(
      "{\"input_toks\": 1472, \"output_toks\": 133, \"arrival_time_ns\": 4059740}\n"
      "{\"input_toks\": 7, \"output_toks\": 8, \"arrival_time_ns\": 4059741, \"input_tok_ids\": [1]}\n");
  CHECK(all.at(1).arrival == Ps(1000));
  const auto run = replay(
      "{\"input_toks\": 7, \"output_toks\": 8, \"arrival_time\": 1777142838.5}\n"
      "{\"input_toks\": 7, \"output_toks\": 8, \"arrival_time\": 1777142838.75}\n");
  CHECK(to_ms(run.at(1).arrival) == Approx(250).epsilon(1e-6));
  CHECK_THAT(what(replay_error("{\"session_id\": \"s\", \"arrival_time_ns\": 0, \"sub_requests\": []}\n")),
             Catch::Contains("sub_requests"));
}

TEST_CASE("are tokens of text estimated from its characters, and is that said?") {
  WorkloadSpec spec;
  const std::string custom =
      "{\"prompt\": \"12345678\", \"output_tokens\": 5}\n{\"prompt\": \"\\u00e9\\u00e9\\u00e9\\u00e9\"}\n";
  const auto all = replay(custom, spec);
  CHECK(all.at(0).prompt_tokens == 2);
  CHECK(all.at(0).output_tokens == 5);
  CHECK(all.at(1).prompt_tokens == 1);
  CHECK(all.at(1).output_tokens == 256);

  const std::string sharegpt =
      "[{\"id\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"a \\\"}] quoted bracket\"},\n"
      "   {\"from\": \"gpt\", \"value\": \"1234\"}]},\n"
      " {\"id\": \"b\", \"conversations\": [{\"from\": \"human\", \"value\": \"alone\"}]}]\n";
  const auto source = make_trace_source(spec, ByteSource::memory(sharegpt, "trace"), 1);
  Request r;
  REQUIRE(source->next(r));
  CHECK(r.prompt_tokens == 5);  // 20 characters
  CHECK(r.output_tokens == 1);
  CHECK_FALSE(source->next(r));
  CHECK_THAT(source->notes().at(1), Catch::Contains("characters / 4"));
  CHECK_THAT(source->notes().at(2), Catch::Contains("1 conversations of fewer than two turns"));
  CHECK_THAT(what(replay_error(sharegpt.substr(0, 60))), Catch::Contains("truncated"));
}
