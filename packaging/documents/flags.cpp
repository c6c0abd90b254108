#include "flags.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>

#include <CLI/CLI.hpp>

#include "bench/options.hpp"
#include "config/rows.hpp"
#include "config/sources.hpp"
#include "ctl/options.hpp"

namespace dflockd::documents {
namespace {

/// The bounds that a value's kind sets and `help` does not name.
struct Bounds {
  static std::string of(std::uint64_t least, std::uint64_t most, std::uint64_t unbounded) {
    if (most < unbounded) {
      return "From " + std::to_string(least) + " to " + std::to_string(most) + ".";
    }
    return least > 0 ? "At least " + std::to_string(least) + "." : "";
  }

  std::string operator()(const config::Seconds& kind) const { return of(kind.least, 0, 0); }
  std::string operator()(const config::Count& kind) const {
    return of(kind.least, kind.most, config::Count{}.most);
  }
  template <typename Other>
  std::string operator()(const Other&) const {
    return "";
  }
};

std::string joined(const std::string& left, std::string_view right) {
  return left + (left.empty() || right.empty() ? "" : " ") + std::string(right);
}

Flag flag_of(const config::Row& row) {
  const std::string shown = config::show(row.value, {});
  const bool is_boolean = config::is_boolean(row.value);
  Flag flag{.name = std::string(row.name),
            .letter = row.letter,
            .negation = {},
            .group = std::string(row.group),
            .help = std::string(row.help),
            .details = joined(std::visit(Bounds(), row.value), row.details),
            .value = is_boolean ? "BOOLEAN" : config::placeholder(row.value),
            .value_is_optional = is_boolean,
            .may_repeat = false,
            .environment = row.environment == nullptr ? "" : row.environment,
            .default_value = row.environment == nullptr ? ""
                             : shown.empty()            ? "none"
                                                        : shown,
            .toml_default = {},
            .is_shorthand = row.scope == config::Scope::kShorthand,
            .excludes = {}};
  if (std::holds_alternative<config::Boolean>(row.value)) {
    flag.negation = "no-" + flag.name;
    flag.excludes = {flag.negation};
  }
  if (row.scope != config::Scope::kCommandLine) {
    flag.toml_default = config::is_text(row.value) ? config::to_toml_string(shown) : shown;
  }
  if (flag.ends_the_line()) flag.value.clear();
  return flag;
}

Flag flag_of(const CLI::Option& option) {
  Flag flag;
  flag.name = option.get_lnames().front();
  if (!option.get_snames().empty()) flag.letter = option.get_snames().front().front();
  flag.help = option.get_description();
  flag.value = option.get_type_name();
  flag.value_is_optional = flag.value.starts_with('[');
  if (flag.value_is_optional) flag.value = flag.value.substr(1, flag.value.size() - 2);
  flag.may_repeat = option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
  flag.environment = option.get_envname();
  flag.default_value = option.get_default_str();
  for (const CLI::Option* const other : option.get_excludes()) {
    flag.excludes.push_back(other->get_lnames().front());
  }
  return flag;
}

std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const CLI::Option* const option : app.get_options()) {
    if (!option->get_lnames().empty()) flags.push_back(flag_of(*option));
  }
  // CLI11 has them first; they are the least interesting.
  std::ranges::stable_partition(flags, [](const Flag& flag) { return !flag.ends_the_line(); });
  return flags;
}

Program program_of(std::string name, const CLI::App& app) {
  Program program{std::move(name), 1, flags_of(app), {}};
  for (const CLI::App* const sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    std::vector<Flag> flags = flags_of(*sub);
    std::erase_if(flags, [](const Flag& flag) { return flag.ends_the_line(); });  // the program's
    std::vector<std::string> arguments;
    for (const CLI::Option* const option : sub->get_options()) {
      if (option->get_lnames().empty()) arguments.push_back(option->get_name());
    }
    program.subcommands.push_back({sub->get_name(), sub->get_description(), arguments, flags});
  }
  return program;
}

}  // namespace

Program dflockd() {
  Program program{"dflockd", 8, {}, {}};
  for (const config::Row& row : config::rows()) program.flags.push_back(flag_of(row));
  return program;
}

Program dflockd_bench() {
  Program program;
  bench::visit_command_line(
      [&](const CLI::App& app) { program = program_of("dflockd-bench", app); });
  return program;
}

Program dflockctl() {
  Program program;
  ctl::visit_command_line([&](const CLI::App& app) { program = program_of("dflockctl", app); });
  return program;
}

std::vector<Use> uses_of(const Program& program) {
  std::vector<Use> uses;
  for (const Flag& flag : program.flags) uses.push_back({flag, {}});
  for (const Subcommand& subcommand : program.subcommands) {
    for (const Flag& flag : subcommand.flags) {
      auto use = std::ranges::find(uses, flag.name, [](const Use& it) { return it.flag.name; });
      if (use == uses.end()) use = uses.insert(uses.end(), {flag, {}});
      use->subcommands.push_back(subcommand.name);
    }
  }
  return uses;
}

std::string sentence(std::string text) {
  text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return text.ends_with('.') ? text : text + ".";
}

}  // namespace dflockd::documents
