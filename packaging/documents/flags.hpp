// The flags of the three programs, in one form: what the documents are generated from.
#pragma once

#include <string>
#include <vector>

namespace dflockd::documents {

struct Flag {
  std::string name;  ///< without dashes
  char letter = '\0';
  std::string negation;  ///< "no-name", without dashes; empty without one
  std::string group;
  std::string help;     ///< a phrase
  std::string details;  ///< sentences, with `literals`; may be empty
  std::string value;    ///< placeholder of the value: "FILE", "text|json"; empty without one
  bool value_is_optional = false;  ///< then only after "="
  bool may_repeat = false;
  std::string environment;
  std::string default_value;
  std::string toml_default;           ///< as the file has it; empty if the file must not name it
  bool is_shorthand = false;          ///< only says something about another flag
  std::vector<std::string> excludes;  ///< names of flags that it excludes

  /// Whether the program only answers it and exits.
  [[nodiscard]] bool ends_the_line() const { return name == "help" || name == "version"; }
};

struct Subcommand {
  std::string name;
  std::string help;
  std::vector<std::string> arguments;  ///< "KEY"
  std::vector<Flag> flags;
};

struct Program {
  std::string name;
  int section;  ///< of the manual
  std::vector<Flag> flags;
  std::vector<Subcommand> subcommands;
};

/// One of a program's flags, and the subcommands that take it.
struct Use {
  Flag flag;
  std::vector<std::string> subcommands;  ///< empty: all, and the program itself
};

/// The program's flags and those of its subcommands, each once.
[[nodiscard]] std::vector<Use> uses_of(const Program& program);

[[nodiscard]] Program dflockd();
[[nodiscard]] Program dflockd_bench();
[[nodiscard]] Program dflockctl();

/// The completion of a program in the language of a shell: a whole file.
[[nodiscard]] std::string bash_completion(const Program& program);
[[nodiscard]] std::string zsh_completion(const Program& program);
[[nodiscard]] std::string fish_completion(const Program& program);

/// "text" with a capital letter and a full stop.
[[nodiscard]] std::string sentence(std::string text);

}  // namespace dflockd::documents
