#include <algorithm>
#include <map>
#include <set>

#include "flags.hpp"

namespace dflockd::documents {
namespace {

constexpr const char* kGenerated =
    "Generated from the flags' declarations by packaging/documents; do not edit.";

/// How the shells complete a value.
struct Completion {
  std::string bash;  ///< compgen's arguments; empty for nothing
  std::string zsh;
  std::string fish;
};

Completion of_words(const std::string& words) {
  return {"-W '" + words + "'", "(" + words + ")", "-x -a '" + words + "'"};
}

Completion completion_of(std::string value) {
  static const std::map<std::string, Completion> kKinds{
      {"FILE", {"-f", "_files", "-r -F"}},
      {"ADDRESS", {"-A hostname", "_hosts", "-x -a '(__fish_print_hostnames)'"}},
      {"PID",
       {"-W \"$(pidof dflockd redis-server memcached)\"", "_pids",
        "-x -a '(__fish_complete_pids)'"}},
      {"BOOLEAN", of_words("true false yes no on off")},
      {"DURATION", of_words("10s 2m 1h")},
      {"INTERVAL", of_words("500ms 1s 5s")},
  };
  if (value == "HOST" || value == "HOSTS") value = "ADDRESS";
  if (const auto kind = kKinds.find(value); kind != kKinds.end()) return kind->second;
  if (value.find('|') != std::string::npos) {
    std::ranges::replace(value, '|', ' ');
    return of_words(value);
  }
  return {"", " ", "-x"};
}

std::string short_help(const Flag& flag) {
  return flag.help.substr(0, flag.help.find(" (default"));
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return text;
}

std::string with_dashes(const std::string& name) {
  return "--" + name;
}

/// The text in single quotes, which neither zsh nor bash looks into, or for fish.
std::string quoted(std::string_view text, std::string_view quote = "'\\''") {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string(quote) : std::string(1, c);
  return result + "'";
}

std::string join(const auto& words, std::string_view separator) {
  std::string result;
  for (const auto& word : words) {
    result += (result.empty() ? "" : std::string(separator)) + std::string(word);
  }
  return result;
}

std::string names_of_subcommands(const Program& program, std::string_view separator) {
  std::vector<std::string> names;
  for (const Subcommand& subcommand : program.subcommands) names.push_back(subcommand.name);
  return join(names, separator);
}

/// "--host --port ...", each flag and its negation.
std::string spellings(const std::vector<Flag>& flags) {
  std::vector<std::string> names;
  for (const Flag& flag : flags) {
    names.push_back(with_dashes(flag.name));
    if (!flag.negation.empty()) names.push_back(with_dashes(flag.negation));
  }
  return join(names, " ");
}

std::string function_name(const Program& program) {
  std::string name = "_" + program.name;
  std::ranges::replace(name, '-', '_');
  return name;
}

/// Finds the subcommand, and leaves the command after the two dashes to its own completion.
std::string bash_subcommand(const Program& program) {
  if (program.subcommands.empty()) return "";
  return "  local subcommand= word i\n"
         "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
         "    word=${COMP_WORDS[i]}\n"
         "    case $word in\n"
         "      " +
         names_of_subcommands(program, " | ") +
         ") subcommand=${subcommand:-$word} ;;\n"
         R"(      --)
        if declare -F _command_offset >/dev/null; then
          _command_offset $((i + 1))
        elif ((COMP_CWORD == i + 1)); then
          mapfile -t COMPREPLY < <(compgen -c -- "$current")
        else
          mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
        return
        ;;
    esac
  done
)";
}

/// The branches of `case $flag` that offer values.
std::string bash_values(const Program& program) {
  std::map<std::pair<bool, std::string>, std::set<std::string>> flags;  // by completion
  for (const auto& [flag, _] : uses_of(program)) {
    if (flag.value.empty()) continue;
    flags[{flag.value_is_optional, completion_of(flag.value).bash}].insert(with_dashes(flag.name));
  }
  std::string text;
  for (const auto& [completion, names] : flags) {
    const auto& [optional, arguments] = completion;
    std::string offer;
    if (arguments == "-f") offer += "      compopt -o filenames\n";
    if (!arguments.empty()) {
      offer += "      mapfile -t COMPREPLY < <(compgen " + arguments + " -- \"$current\")\n";
    }
    offer += "      return\n";
    if (optional) offer = "      if [[ $joined ]]; then\n" + offer + "      fi\n";
    text += "    " + join(names, " | ") + ")\n" + offer + "      ;;\n";
  }
  return text;
}

std::string bash_flags(const Program& program) {
  std::string text = "  flags=" + quoted(spellings(program.flags)) + "\n";
  if (program.subcommands.empty()) return text;
  text += "  case $subcommand in\n";
  for (const Subcommand& subcommand : program.subcommands) {
    text += "    " + subcommand.name + ") flags+=" + quoted(" " + spellings(subcommand.flags)) +
            " ;;\n";
  }
  return text +
         "    '') [[ $current == -* ]] || flags=" + quoted(names_of_subcommands(program, " ")) +
         " ;;\n  esac\n";
}

/// '(--other)--name=[help]:value:action', one or two arguments of _arguments.
std::string zsh_spec(const Flag& flag) {
  std::string help;
  for (const char c : short_help(flag))
    help += (c == '[' || c == ']' ? "\\" : "") + std::string(1, c);
  if (flag.ends_the_line()) {
    if (flag.letter == '\0') return quoted("(- *)--" + flag.name + "[" + help + "]");
    return "'(- *)'{-" + std::string(1, flag.letter) + ",--" + flag.name + "}" +
           quoted("[" + help + "]");
  }
  std::set<std::string> others;
  for (const std::string& other : flag.excludes) others.insert(with_dashes(other));
  const std::string exclusion = others.empty() ? "" : "(" + join(others, " ") + ")";
  std::string spec = exclusion + "--" + flag.name;
  if (flag.may_repeat) spec = "*" + spec;
  if (!flag.value.empty()) spec += flag.value_is_optional ? "=-" : "=";
  spec += "[" + help + "]";
  if (!flag.value.empty()) {
    const std::string what =
        flag.value.find('|') == std::string::npos ? lower(flag.value) : "value";
    spec += (flag.value_is_optional ? "::" : ":") + what + ":" + completion_of(flag.value).zsh;
  }
  std::string result = quoted(spec);
  if (!flag.negation.empty()) {
    result += " " + quoted("(--" + flag.name + ")--" + flag.negation + "[the opposite]");
  }
  return result;
}

std::string zsh_specs(const std::vector<Flag>& flags, std::string_view separator) {
  std::vector<std::string> specs;
  for (const Flag& flag : flags) specs.push_back(zsh_spec(flag));
  return join(specs, separator);
}

std::string zsh_subcommands(const Program& program) {
  std::string text = "local curcontext=$curcontext state\nlocal -a general=(\n  " +
                     zsh_specs(program.flags, "\n  ") +
                     "\n)\n\n_arguments -C -S $general \\\n  '1:subcommand:((";
  for (const Subcommand& subcommand : program.subcommands) {
    text += subcommand.name + "\\:\"" + subcommand.help + "\" ";
  }
  text += R"())' \
  '*::argument:->argument'

[[ $state == argument ]] || return
# After the two dashes of lock and semaphore comes a command, with completions of its own.
local -i dashes=${words[(i)--]}
if [[ $words[1] == (lock|semaphore) ]] && (( dashes < CURRENT )); then
  shift dashes words
  (( CURRENT -= dashes ))
  _normal
  return
fi
case $words[1] in
)";
  for (const Subcommand& subcommand : program.subcommands) {
    text += "  " + subcommand.name + ") _arguments -S $general";
    for (std::size_t i = 0; i < subcommand.arguments.size(); ++i) {
      text += " " + quoted(std::to_string(i + 1) + ":" + lower(subcommand.arguments[i]) + ": ");
    }
    if (!subcommand.flags.empty()) text += " \\\n    " + zsh_specs(subcommand.flags, " \\\n    ");
    text += " ;;\n";
  }
  return text + "esac\n";
}

std::string fish_flag(const Program& program, const Flag& flag, const std::string& condition) {
  const auto line = [&](const std::string& name, const std::string& value) {
    return "complete -c " + program.name + condition +
           (flag.letter == '\0' ? "" : " -s " + std::string(1, flag.letter)) + " -l " + name +
           value + " -d " + quoted(short_help(flag), "\\'") + "\n";
  };
  std::string value;
  if (!flag.value.empty()) {
    value = " " + completion_of(flag.value).fish;
    if (flag.value_is_optional) value.replace(0, std::string(" -x").size(), "");
  }
  return line(flag.name, value) + (flag.negation.empty() ? "" : line(flag.negation, ""));
}

constexpr const char* kFishSubcommands = R"(
function __dflockctl_uses
    # Whether the subcommand is one of those given, and its command has not begun.
    set -l words (commandline -opc)
    contains -- -- $words; and return 1
    for word in $words[2..-1]
        if contains -- $word @SUBCOMMANDS@
            contains -- $word $argv
            return
        end
    end
    contains -- none $argv
end

function __dflockctl_command
    # After the two dashes comes a command, with completions of its own.
    set -l words (commandline -opc)
    set -l dashes (contains -i -- -- $words)
    and complete -C (string join ' ' -- (string escape -- $words[(math $dashes + 1)..-1]) (commandline -ct))
end

complete -c dflockctl -n 'contains -- -- (commandline -opc)' -a '(__dflockctl_command)'
)";

}  // namespace

std::string bash_completion(const Program& program) {
  const std::string function = function_name(program);
  return "# bash completion for " + program.name + "(" + std::to_string(program.section) +
         ")  -*- shell-script -*-\n# " + kGenerated + "\n\n" + function + "() {\n" +
         R"(  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} joined= flags=
  COMPREPLY=()
)" + bash_subcommand(program) +
         R"(  # bash makes three words of --flag=value.
  if [[ $current == = ]]; then
    current= joined=yes
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]} joined=yes
  fi
  case $flag in
)" + bash_values(program) +
         "  esac\n  [[ $joined ]] && return\n\n" + bash_flags(program) +
         "  mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$current\")\n}\n\ncomplete -F " +
         function + " " + program.name + "\n";
}

std::string zsh_completion(const Program& program) {
  const std::string head = "#compdef " + program.name + "\n# " + kGenerated + "\n\n";
  if (!program.subcommands.empty()) return head + zsh_subcommands(program);
  return head + "_arguments -S \\\n  " + zsh_specs(program.flags, " \\\n  ") + "\n";
}

std::string fish_completion(const Program& program) {
  std::string text = "# fish completion for " + program.name + "(" +
                     std::to_string(program.section) + ")\n# " + kGenerated + "\n\ncomplete -c " +
                     program.name + " -f\n";
  if (!program.subcommands.empty()) {
    text += kFishSubcommands;
    constexpr std::string_view kMark = "@SUBCOMMANDS@";
    text.replace(text.find(kMark), kMark.size(), names_of_subcommands(program, " "));
  }
  for (const Subcommand& subcommand : program.subcommands) {
    text += "complete -c " + program.name + " -n '__dflockctl_uses none' -a " + subcommand.name +
            " -d " + quoted(subcommand.help, "\\'") + "\n";
  }
  for (const auto& [flag, subcommands] : uses_of(program)) {
    const std::string condition =
        subcommands.empty() ? "" : " -n '__dflockctl_uses " + join(subcommands, " ") + "'";
    text += fish_flag(program, flag, condition);
  }
  return text;
}

}  // namespace dflockd::documents
