#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.hpp"

namespace orrery {

/// Flags every verb understands, before or after it.
struct OutputOptions {
  bool json = false;         ///< exactly one JSON document on stdout
  bool quiet = false;        ///< no notes, no progress; errors only
  bool no_progress = false;  ///< no progress bar
  std::string color = "auto";
  bool color_stdout() const;  ///< `color` applied to stdout: auto = a terminal and NO_COLOR unset
  bool progress() const;      ///< whether a progress bar on stderr is wanted and stderr is a terminal
};

/// The options of one verb: parsing (Boost.Program_options, no guessing), help, near names, shell completion.
///
///   int run(const std::vector<std::string>& args) {
///     std::string model, file;
///     std::optional<std::int64_t> limit;
///     Seconds window{0};
///     bool sort = false;
///     Options options("trace stats", "Count, rate, lengths and prefix reuse of a trace.");
///     options.group("trace", "Trace")
///         .positional("FILE", file, "the trace")
///         .value("model,m", model, "MODEL", "built-in name or path")   // -m, --model
///         .value("num-prompts", limit, "N", "read this many")          // 8k = 8000, 8K = 8192
///         .value("window", window, "TIME", "30s, 500ms, 20m")
///         .flag("sort", sort, "sort by time first");
///     if (!options.parse(args)) return 0;                              // --help was asked for and printed
///     if (options.output().json) ...
///     if (options.given("window")) ...
///   }
///
/// The placeholder also drives completion: MODEL, GPU, ENGINE, FILE, DIR, or words in the form a|b|c.
class Options {
 public:
  using Apply = std::function<void(const std::string& value)>;

  Options(std::string verb, std::string summary);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  /// The options that follow belong to this group; `--help KEY` shows it alone.
  Options& group(std::string key, std::string title);
  /// A line under "Examples" of the help.
  Options& example(std::string line);

  /// `names` is "long", "long,s" or "long,tp": a shorthand may have several letters. A bare switch.
  Options& flag(const std::string& names, bool& target, const std::string& help);
  /// A switch with a negative, as vLLM has them: --name, --no-name, --name=false.
  Options& toggle(const std::string& names, std::optional<bool>& target, const std::string& help);
  Options& toggle(const std::string& names, Apply apply, const std::string& help);
  /// Takes a value. Errors of `apply` are reported as usage errors of this option.
  Options& value(const std::string& names, Apply apply, const std::string& placeholder,
                 const std::string& help);
  template <class T>
  requires(!std::invocable<T&, const std::string&>) Options& value(const std::string& names, T& target,
                                                                   const std::string& placeholder,
                                                                   const std::string& help) {
    return value(
        names, [&target](const std::string& text) { read_value(text, target); }, placeholder, help);
  }
  /// The next bare word. `required` ones that are missing are an error.
  Options& positional(const std::string& placeholder, std::string& target, const std::string& help,
                      bool required = true);
  /// All remaining bare words.
  Options& positionals(const std::string& placeholder, std::vector<std::string>& target,
                       const std::string& help);

  /// False when help was asked for and printed: return 0. Errors: ConfigError (usage), with the near option.
  [[nodiscard]] bool parse(const std::vector<std::string>& args);

  bool given(const std::string& long_name) const;  ///< whether the command line had it
  const OutputOptions& output() const { return output_; }
  std::string help(const std::string& group = {}) const;

  static void read_value(const std::string& text, std::string& target) { target = text; }
  static void read_value(const std::string& text, std::int64_t& target);   ///< >= 0, vLLM's forms
  static void read_value(const std::string& text, std::int32_t& target);   ///< >= 0, vLLM's forms
  static void read_value(const std::string& text, std::uint64_t& target);  ///< any, for seeds
  static void read_value(const std::string& text, double& target);
  static void read_value(const std::string& text, Seconds& target);  ///< a duration
  static void read_value(const std::string& text, std::vector<std::string>& target) {
    target.push_back(text);
  }
  template <class T>
  static void read_value(const std::string& text, std::optional<T>& target) {
    T value{};
    read_value(text, value);
    target = value;
  }

 private:
  struct Option {
    std::string name, shorthand, placeholder, help;
    bool takes_value = false, negatable = false;
    Apply apply;
  };
  struct Group {
    std::string key, title;
    std::vector<Option> options;
  };
  struct Positional {
    std::string placeholder, help;
    Apply apply;
    bool required = true, many = false;
  };

  Options& add(const std::string& names, Option option);
  const Option* find(std::string_view name) const;
  [[noreturn]] void refuse_unknown(const std::string& option) const;
  void apply(const Option& option, const std::string& value, bool negated);
  void apply_positionals(const std::vector<std::string>& words);
  void print_completions() const;

  std::string verb_, summary_;
  std::vector<std::string> examples_;
  std::vector<Group> groups_;
  std::vector<Positional> positionals_;
  std::map<std::string, int> given_;
  OutputOptions output_;
};

/// Verbs within a verb (`orrery trace stats`): the first word of `args` chooses. Without one, and for --help,
/// lists them. Errors: ConfigError (usage) with the near name.
struct Subcommand {
  std::string name, help;
  int (*run)(const std::vector<std::string>& args);
};
int dispatch(const std::string& verb, const std::string& summary, const std::vector<Subcommand>& subcommands,
             const std::vector<std::string>& args);

/// The flags of OutputOptions as they may stand before the verb.
bool is_output_flag(const std::string& word);

}  // namespace orrery
