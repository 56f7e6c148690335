// Settings of generated requests that share prefixes: repeated prompts, and sessions.
#include <fmt/format.h>

#include "scenario/setting_field.hpp"

namespace orrery {

namespace {

[[noreturn]] void refuse_field(const NamedSpec& spec, const std::string& key,
                               std::vector<std::string> known) {
  throw ConfigError(fmt::format("'{}' has no field '{}'", spec.name, key), suggestion(key, known));
}

/// `groups=9,users=5,system=100,question=50,block=16`.
void set_prefix(Scenario& s, const std::string& text) {
  const NamedSpec spec = parse_named_spec("prefix:" + text);
  SharedPrefixSpec p;
  p.groups = 1;
  for (const auto& [key, value] : spec.fields) {
    const auto number = static_cast<std::int32_t>(parse_integer(value, 0, 1'000'000'000));
    if (key == "groups") {
      p.groups = number;
    } else if (key == "users") {
      p.users = number;
    } else if (key == "system") {
      p.system_tokens = number;
    } else if (key == "question") {
      p.question_tokens = number;
    } else if (key == "block") {
      p.block_tokens = number;
    } else {
      refuse_field(spec, key, {"groups", "users", "system", "question", "block"});
    }
  }
  s.workload.prefix = p;
}

Json show_prefix(const Scenario& s) {
  const auto& p = s.workload.prefix;
  if (p.groups == 0) return {};
  return fmt::format("groups={},users={},system={},question={},block={}", p.groups, p.users, p.system_tokens,
                     p.question_tokens, p.block_tokens);
}

/// `turns=5,branches=1,system=200,follow_up=64,block=16`.
void set_sessions(Scenario& s, const std::string& text) {
  const NamedSpec spec = parse_named_spec("sessions:" + text);
  SessionSpec out;
  out.turns = 1;
  for (const auto& [key, value] : spec.fields) {
    const auto number = static_cast<std::int32_t>(parse_integer(value, 0, 1'000'000'000));
    if (key == "turns") {
      out.turns = number;
    } else if (key == "branches") {
      out.branches = number;
    } else if (key == "system") {
      out.system_tokens = number;
    } else if (key == "follow_up") {
      out.follow_up = number;
    } else if (key == "block") {
      out.block_tokens = number;
    } else {
      refuse_field(spec, key, {"turns", "branches", "system", "follow_up", "block"});
    }
  }
  s.workload.sessions = out;
}

Json show_sessions(const Scenario& s) {
  const auto& p = s.workload.sessions;
  if (p.turns == 0) return {};
  std::string text = fmt::format("turns={},branches={},system={}", p.turns, p.branches, p.system_tokens);
  if (p.block_tokens > 0) text += fmt::format(",block={}", p.block_tokens);
  if (p.follow_up >= 0) text += fmt::format(",follow_up={}", p.follow_up);
  return text;
}

}  // namespace

void add_prefix_settings(std::vector<Setting>& out) {
  out.push_back({"prefix", "workload", "synthetic", "", "SPEC",
                 "shared prompts: groups=9,users=5,system=100,question=50", set_prefix, show_prefix});
  out.push_back(
      {"sessions", "workload", "synthetic", "", "SPEC",
       "requests that go on from answers, --think-time later: turns=5,branches=1,system=200,follow_up=64",
       set_sessions, show_sessions});
}

}  // namespace orrery
