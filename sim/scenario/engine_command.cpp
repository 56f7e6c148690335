#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/engine_args.hpp"
#include "scenario/engine_speculation.hpp"
#include "scenario/scenario.hpp"
#include "scenario/settings.hpp"

namespace orrery {

namespace {

/// Words as a POSIX shell would split them: quotes, backslashes and continued lines; no expansion.
std::vector<std::string> shell_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool open = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      ++i;
      if (text[i] == '\n') continue;
      if (quote == '"' && text[i] != '"' && text[i] != '\\') word += '\\';
      word += text[i];
      open = true;
    } else if (quote) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      open = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (open || !word.empty()) words.push_back(word);
      word.clear();
      open = false;
    } else {
      word += c;
    }
  }
  if (quote) throw ConfigError("--engine-args: a quotation is not closed", {}, ExitCode::usage);
  if (open || !word.empty()) words.push_back(word);
  return words;
}

bool is_environment(const std::string& word) {
  const auto equals = word.find('=');
  return equals != std::string::npos && equals > 0 && word[0] != '-' &&
         std::all_of(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(equals),
                     [](unsigned char c) { return std::isupper(c) || std::isdigit(c) || c == '_'; });
}

std::string long_name(const EngineArg& arg) {
  return fmt::format("--{}", arg.name);
}

std::string base_name(const std::string& path) {
  return path.substr(path.find_last_of('/') + 1);
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view engine)
      : engine_(engine.substr(0, engine.find('@'))), words_(shell_words(text)) {}

  EngineCommand parse() {
    take_program();
    while (next_ < words_.size()) {
      const std::string word = words_[next_++];
      if (word.size() > 1 && word[0] == '-') {
        take_argument(word);
      } else if (!model_taken_ && program_) {
        assign("model", word);
        model_taken_ = true;
      } else {
        throw ConfigError("--engine-args: unexpected word '" + word + "'", "quote values that hold blanks",
                          ExitCode::usage);
      }
    }
    take_speculation(sglang_speculation(speculation_, out_.warnings));
    return std::move(out_);
  }

 private:
  /// Skips environment settings and the program's own words, learning which engine it is.
  void take_program() {
    while (next_ < words_.size() && is_environment(words_[next_])) {
      out_.warnings.push_back("environment setting " + words_[next_++] + " is not looked at");
    }
    const std::size_t start = next_;
    std::size_t i = start;
    const auto at = [&](std::size_t k) { return k < words_.size() ? words_[k] : std::string(); };
    if (base_name(at(i)).rfind("python", 0) == 0) ++i;
    if (i > start && at(i) == "-m") ++i;
    const std::string program = base_name(at(i));
    std::string engine;
    if (program == "vllm" || program.rfind("vllm.entrypoints", 0) == 0) engine = "vllm";
    if (program == "sglang" || program == "sglang.launch_server") engine = "sglang";
    if (program == "trtllm-serve") engine = "trtllm";
    if (engine.empty()) {
      if (i > start) throw unknown_program(at(i));
      if (!program.empty() && program[0] != '-') throw unknown_program(program);
      return;  // arguments alone
    }
    ++i;
    if (at(i) == "serve") ++i;
    next_ = i;
    program_ = true;
    engine_ = engine;
    assign("engine", engine);
  }

  static ConfigError unknown_program(const std::string& program) {
    return ConfigError(
        "--engine-args: '" + program + "' is not a server that is known",
        "paste a command such as 'vllm serve MODEL --max-num-seqs 64', 'python -m sglang.launch_server "
        "...', 'trtllm-serve MODEL ...', or its arguments alone",
        ExitCode::usage);
  }

  const EngineArg* find(const std::string& name) const {
    for (const auto& a : engine_args()) {
      if (a.engine != engine_) continue;
      if (name == long_name(a) || (!a.letters.empty() && name == fmt::format("-{}", a.letters))) return &a;
    }
    return nullptr;
  }

  void take_argument(const std::string& word) {
    const auto equals = word.find('=');
    std::string name = word.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = word.substr(equals + 1);
    if (name.rfind("--", 0) == 0) std::replace(name.begin(), name.end(), '_', '-');
    bool negated = false;
    const EngineArg* arg = find(name);
    if (!arg && name.rfind("--no-", 0) == 0) {
      arg = find(name.substr(0, 2) + name.substr(5));
      negated = arg != nullptr;
    }
    if (!arg) return take_unknown(name, value.has_value());
    const bool next_is_value = next_ < words_.size() && !words_[next_].empty() && words_[next_][0] != '-';
    if (!value && arg->takes_value) {
      if (!next_is_value) throw ConfigError("--engine-args: " + name + " needs a value", {}, ExitCode::usage);
      value = words_[next_++];
    } else if (!value && next_is_value &&
               (words_[next_] == "true" || words_[next_] == "false" || words_[next_] == "True" ||
                words_[next_] == "False")) {
      value = words_[next_++];
    }
    use(*arg, name, value, negated);
  }

  void use(const EngineArg& arg, const std::string& name, const std::optional<std::string>& value,
           bool negated) {
    const std::string shown = value ? name + " " + *value : name;
    if (arg.cls == ArgClass::no_effect) {
      out_.no_effect.push_back(shown);
    } else if (arg.cls == ArgClass::not_modelled) {
      out_.warnings.push_back("engine argument '" + shown + "' affects timing and is not modelled");
    } else if (arg.takes_value) {
      take_value(std::string(arg.setting), *value);
    } else {
      const bool on = (!value || *value == "true" || *value == "True") != negated;
      const bool setting_on = (arg.value != "false") == on;
      assign(std::string(arg.setting), setting_on ? "true" : "false");
    }
  }

  /// One value of a setting, or of what becomes settings.
  void take_value(const std::string& setting, const std::string& value) {
    constexpr std::string_view kSpeculation = "speculative.";
    if (setting.rfind(kSpeculation, 0) == 0) {
      speculation_[setting.substr(kSpeculation.size())] = value;
    } else if (setting == "options_file") {
      take_speculation(trtllm_speculation(value, out_.warnings));
    } else if (setting == "eplb_config") {
      take_balancing(value);
    } else {
      assign(setting, value);
    }
  }

  void take_speculation(const std::string& config) {
    if (!config.empty()) assign("speculative_config", config);
  }

  /// vLLM's EPLBConfig: how many copies; when experts move again costs nothing here.
  void take_balancing(const std::string& json) {
    JsonView view(JsonDocument::parse(json, "eplb_config"));
    if (view.has("num_redundant_experts")) {
      assign("num_redundant_experts", std::to_string(view.integer("num_redundant_experts")));
    }
    for (const char* key : {"window_size", "step_interval", "log_balancedness", "log_balancedness_interval",
                            "use_async", "policy"}) {
      view.ignore(key);
    }
    view.finish();
  }

  void take_unknown(const std::string& name, bool has_value) {
    std::vector<std::string> names;
    for (const auto& a : engine_args()) {
      if (a.engine == engine_) names.push_back(long_name(a));
    }
    if (const std::string near = nearest(name, names); !near.empty()) {
      throw ConfigError(
          "--engine-args: unknown " + engine_ + " argument '" + name + "'. Did you mean " + near + "?", {},
          ExitCode::usage);
    }
    out_.warnings.push_back("engine argument '" + name + "' is not known and is left out");
    if (!has_value && next_ < words_.size() && !words_[next_].empty() && words_[next_][0] != '-') ++next_;
  }

  void assign(const std::string& setting, const std::string& value) {
    out_.assignments.push_back({setting, value, kEngineArgsOrigin, "", 0});
  }

  std::string engine_;
  std::vector<std::string> words_;
  std::size_t next_ = 0;
  bool program_ = false, model_taken_ = false;
  std::map<std::string, std::string> speculation_;  ///< SGLang's, by the last words of its arguments
  EngineCommand out_;
};

}  // namespace

EngineCommand parse_engine_command(std::string_view text, std::string_view engine) {
  return Parser(text, engine).parse();
}

}  // namespace orrery
