#include <algorithm>
#include <cassert>
#include <memory>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

#include "config/sources.hpp"

namespace dflockd::config {
namespace {

constexpr std::size_t kHelpColumn = 37;

std::string with_dashes(const Row& row) {
  return "--" + std::string(row.name);
}
std::string negated(const Row& row) {
  return "--no-" + std::string(row.name);
}

/// The help of a row: what it is, and below that its environment variable and its default.
std::string description(const Row& row) {
  std::string text(row.help);
  if (row.environment != nullptr) {
    const std::string value = show(row.value, Settings());
    text += "\n[" + std::string(row.environment) + ", default " + (value.empty() ? "none" : value) +
            "]";
  }
  if (std::holds_alternative<Boolean>(row.value)) {
    text += "\n" + negated(row) + " and =false turn it off";
  }
  return text;
}

/// Declares `name` to CLI11, which separates flags from values and lays out --help. It
/// hands out every value unchecked: values are checked by the same code whatever their source.
CLI::Option* declare(CLI::App& app, const Row& row, const std::string& name) {
  CLI::Option* const option = is_boolean(row.value)
                                  ? app.add_flag(name)
                                  : app.add_option(name)->option_text(placeholder(row.value));
  return option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->description(description(row))
      ->group(std::string(row.group));
}

std::unique_ptr<CLI::App> make_app() {
  auto app = std::make_unique<CLI::App>(
      "A lock server: FIFO locks and semaphores under leases, with fencing tokens.\n"
      "A flag beats its environment variable, which beats the file, which beats the default.\n",
      "dflockd");
  app->set_help_flag();
  app->allow_extras();
  app->get_formatter()->column_width(kHelpColumn);
  app->get_formatter()->label("OPTIONS", "FLAGS");
  for (const Row& row : rows()) {
    const std::string letter = row.letter == '\0' ? "" : std::string{'-', row.letter, ','};
    declare(*app, row, letter + with_dashes(row));
    if (std::holds_alternative<Boolean>(row.value)) {
      declare(*app, row, negated(row))->group("");
    }
  }
  return app;
}

/// The arguments last first, as CLI11 takes them. "--name=" becomes "--name" and "", because CLI11
/// would take the argument that follows for the value.
std::vector<std::string> for_cli11(std::span<const char* const> arguments) {
  std::vector<std::string> result;
  for (const std::string_view argument : arguments) {
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1) {
      result.emplace_back(argument.substr(0, argument.size() - 1));
      result.emplace_back();
    } else {
      result.emplace_back(argument);
    }
  }
  std::ranges::reverse(result);
  return result;
}

/// "--port: a value is missing; expected an integer ..."
std::string missing_value(const Row& row) {
  return with_dashes(row) + ": a value is missing; expected " + allowed(row.value);
}

const Row& row_of(std::string_view flag) {
  const auto row = std::ranges::find(rows(), flag, with_dashes);
  assert(row != rows().end());
  return *row;
}

/// Whether what was taken for a value is a flag that says or announces a secret, as in
/// "--port --auth-token=hunter2". Shown as a value that is not allowed, it would show the secret.
bool is_flag_with_secret(std::string_view text) {
  const bool with_value = text.starts_with("--") && text.find('=') != std::string_view::npos;
  return with_value || std::ranges::any_of(rows(), [&](const Row& row) {
           return is_secret(row.value) && text == with_dashes(row);
         });
}

/// What --no-NAME says about NAME. It takes no value: "=false" would be a double negation.
std::string negation_of(const std::string& flag, const std::string& text) {
  if (text != "true") {
    throw Refusal(flag + ": " + in_quotes(text) + " is not allowed; expected no value");
  }
  return "false";
}

}  // namespace

bool CommandLine::asks_for_help() const {
  Settings settings;
  return std::ranges::any_of(flags, [&](const Flag& flag) {
    return flag.where == "--help" && read(flag.row->value, flag.text, settings) && settings.help;
  });
}

CommandLine parse_command_line(std::span<const char* const> arguments) {
  const std::unique_ptr<CLI::App> app = make_app();
  try {
    app->parse(for_cli11(arguments));
  } catch (const CLI::ArgumentMismatch&) {
    // Only the last argument can lack its value: in front of another, that one is the value.
    throw Refusal(missing_value(row_of(arguments.back())));
  }
  CommandLine result{.flags = {}, .unknown = app->remaining()};
  for (const Row& row : rows()) {
    const std::string flag = with_dashes(row);
    for (const std::string& text : app->get_option(flag)->results()) {
      if (!is_secret(row.value) && is_flag_with_secret(text)) {
        throw Refusal(missing_value(row));
      }
      result.flags.push_back({&row, flag, text});
    }
    if (std::holds_alternative<Boolean>(row.value)) {
      const std::string negative = negated(row);
      for (const std::string& text : app->get_option(negative)->results()) {
        result.flags.push_back({&row, negative, negation_of(negative, text)});
      }
    }
  }
  return result;
}

std::string help_text() {
  constexpr std::string_view kTwoBlankLines = "\n\n\n";
  std::string text = make_app()->help();
  // CLI11 separates groups by two blank lines, and ends with one.
  for (auto at = text.find(kTwoBlankLines); at != text.npos; at = text.find(kTwoBlankLines)) {
    text.erase(at, 1);
  }
  text.pop_back();
  return text;
}

}  // namespace dflockd::config
