#include <cstdio>

#include "base/error.hpp"
#include "command.hpp"
#include "listings.hpp"
#include "options.hpp"

namespace orrery {
namespace {

// The shell asks the program itself: "orrery VERB __options" lists the options with what each takes, and
// "orrery __complete PLACEHOLDER" the values. So it never falls behind, and new models and devices complete
// too.
constexpr const char* kBash = R"bash(# bash completion of orrery; to install it:
#   orrery completion bash > ~/.local/share/bash-completion/completions/orrery
_orrery() {
  local IFS=$'\n' program="${COMP_WORDS[0]}" cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
  local name takes i
  local -a verbs=() words=()
  for (( i = 1; i < COMP_CWORD && i < 3; i++ )); do
    [[ "${COMP_WORDS[i]}" == -* ]] && break
    verbs+=("${COMP_WORDS[i]}")
  done
  if (( ${#verbs[@]} == 0 )); then
    COMPREPLY=($(compgen -W "$("$program" __complete COMMAND 2>/dev/null)" -- "$cur"))
    return
  fi
  while IFS=$'\t' read -r name takes; do
    name="${name#.}"
    if [[ -n "$name" && "$name" == "$prev" && -n "$takes" && "$takes" != COMMAND ]]; then
      words=($("$program" __complete "$takes" 2>/dev/null))
      break
    fi
    if [[ "$takes" == COMMAND || ( "$name" == -* && "$cur" == -* ) ]]; then
      words+=("$name")
    elif [[ -z "$name" && "$cur" != -* ]]; then
      words+=($("$program" __complete "$takes" 2>/dev/null))
    fi
  done < <("$program" "${verbs[@]}" __options 2>/dev/null | sed 's/^/./')
  COMPREPLY=($(compgen -W "${words[*]}" -- "$cur"))
}
complete -o default -F _orrery orrery
)bash";

int run_completion(const std::vector<std::string>& args) {
  std::string shell;
  Options options("completion", "Prints a completion script: source <(orrery completion bash)");
  options.positional("SHELL", shell, "bash");
  if (!options.parse(args)) return 0;
  if (shell != "bash") {
    throw ConfigError("no completion for the shell '" + shell + "'", "valid values: bash", ExitCode::usage);
  }
  std::fputs(kBash, stdout);
  return 0;
}

/// Values for one placeholder, one per line: a|b|c, MODEL, GPU, ... Nothing for FILE and DIR: the shell
/// knows.
int run_complete(const std::vector<std::string>& args) {
  const std::string placeholder = args.empty() ? "" : args[0];
  if (placeholder.find('|') != std::string::npos) {
    for (const char c : placeholder) std::putchar(c == '|' ? '\n' : c);
    std::putchar('\n');
    return 0;
  }
  for (const auto& l : listings()) {
    if (l.placeholder.empty() || l.placeholder != placeholder) continue;
    for (const auto& e : l.entries()) std::printf("%s\n", e.name.c_str());
  }
  if (placeholder == "KIND") {
    for (const auto& l : listings()) std::printf("%s\n", l.kind.c_str());
  }
  return 0;
}

const Registration<Commands> completion{"completion", "print a shell completion script", run_completion};
const Registration<Commands> complete{"__complete", "values for the shell", run_complete};

}  // namespace
}  // namespace orrery
