#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/small_file.hpp"
#include "base/text.hpp"
#include "config/config.hpp"
#include "config/hosts.hpp"
#include "config/rows.hpp"
#include "config/sources.hpp"

namespace dflockd::config {
namespace {

namespace fs = std::filesystem;

/// Where a value comes from; a later one has precedence.
enum class Source { kDefault, kFile, kEnvironment, kCommandLine };

/// Collects what the sources say. They must be read in falling order of precedence, so that the
/// first value given for a row is the one that counts.
class Collector {
 public:
  void read_command_line(const CommandLine& line) {
    for (const Flag& flag : line.flags) {
      require_token(flag);
      take(*flag.row, Source::kCommandLine, flag.where, flag.text);
    }
    if (!line.unknown.empty()) {
      const bool secret = std::ranges::any_of(
          line.flags, [](const Flag& flag) { return is_secret(flag.row->value); });
      refuse_argument(line.unknown.front(), secret);
    }
  }

  void read_environment(Environment environment) {
    OwnVariables variables(environment);
    std::vector<std::string_view> names;
    for (const Row& row : rows()) {
      if (row.environment != nullptr) names.emplace_back(row.environment);
      const bool current = read_variable(row, row.environment, variables);
      if (read_variable(row, row.old_environment, variables)) {
        environment_warnings_.push_back(std::string(row.old_environment) + " is the old name of " +
                                        row.environment +
                                        (current ? ", which is set too and counts" : ""));
      }
    }
    std::ranges::move(variables.warnings(names), std::back_inserter(environment_warnings_));
  }

  void read_file() {
    if (settings_.config_file.empty()) {
      return;
    }
    // What an unknown key holds may be a secret under a name mistyped.
    const auto may_show = [](std::string_view key) {
      const Row* const row = row_in_file(key);
      return row != nullptr && !is_secret(row->value);
    };
    try {
      for (const TomlItem& item : read_toml_file(settings_.config_file, may_show)) take(item);
    } catch (const base::FileError& error) {
      throw about_file(error.what(), where("config"));
    }
  }

  /// Call it when all sources have been read: --debug is --log-level debug, unless the level is
  /// given in the same source or in one with precedence over it.
  void apply_shorthands() {
    if (settings_.debug && source_of("debug") > source_of("log-level")) {
      settings_.log_level = LogLevel::kDebug;
    }
  }

  /// Call it when all sources have been read: refuses what does not make sense alone.
  void check_pairs() const {
    const bool has_cert = !settings_.tls_cert.empty();
    const bool has_key = !settings_.tls_key.empty();
    require(has_cert, "tls-cert", has_key, "--tls-key");
    require(has_key, "tls-key", has_cert, "--tls-cert");
    require(!settings_.tls_client_ca.empty(), "tls-client-ca", has_cert, "--tls-cert");
    require(settings_.http_rate_limit_burst > 0, "http-rate-limit-burst",
            settings_.http_rate_limit_per_ip > 0, "--http-rate-limit-per-ip");
    const std::string& http_host = settings_.http_host;
    if (settings_.http_port != 0 && settings_.http_port == settings_.port &&
        overlap(settings_.host, http_host.empty() ? settings_.host : http_host)) {
      throw Refusal(where("http-port") + ": '" + std::to_string(settings_.port) +
                    "' is --port too, on the same address; expected another port");
    }
  }

  /// Call it when all sources have been read: finds the secret, and reads the file that holds it.
  void choose_token() {
    const bool has_text = !settings_.auth_token_text.empty();
    const bool has_file = !settings_.auth_token_file.empty();
    if (has_text && (!has_file || source_of("auth-token") >= source_of("auth-token-file"))) {
      settings_.auth_token = settings_.auth_token_text;
      settings_.auth_token_file.clear();
      if (source_of("auth-token") == Source::kCommandLine) {
        warnings_.emplace_back("--auth-token is visible in ps; --auth-token-file is not");
      }
    } else if (has_file) {
      settings_.auth_token_text = Secret();
      read_token();
    }
  }

  /// Where the row's value was given, such as "DFLOCKD_PORT"; its flag if it was given nowhere.
  [[nodiscard]] std::string where(std::string_view name) const {
    const auto found = given_.find(name);
    return found == given_.end() ? "--" + std::string(name) : found->second.where;
  }

  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
  [[nodiscard]] const std::vector<std::string>& environment_warnings() const {
    return environment_warnings_;
  }

 private:
  struct Given {
    Source source;
    std::string where;
  };

  [[nodiscard]] Source source_of(std::string_view name) const {
    const auto found = given_.find(name);
    return found == given_.end() ? Source::kDefault : found->second.source;
  }

  /// Takes a value if none is there yet; checks it in any case.
  void take(const Row& row, Source source, const std::string& where, std::string_view text) {
    const auto [known, first] = given_.try_emplace(row.name, Given{source, where});
    Settings overridden;
    if (!read(row.value, text, first ? settings_ : overridden)) {
      throw Refusal(where + ": " + why_refused(row.value, text));
    }
    // In the environment it can only be the old name beside the new one.
    if (!first && known->second.source == source && source != Source::kEnvironment) {
      const std::string& earlier = known->second.where;
      throw Refusal(where + ": given twice" + (earlier == where ? "" : ", first as " + earlier));
    }
  }

  /// Takes what the file says; each kind of value has its type there.
  void take(const TomlItem& item) {
    if (item.type == TomlType::kSection) {
      throw Refusal(item.where + ": a section is not allowed; there are none");
    }
    const Row* const row = row_in_file(item.key);
    if (row == nullptr) {
      throw Refusal(item.where + ": unknown key; the nearest is " +
                    std::string(nearest(item.key, names_in_file())));
    }
    if (!has_type(row->value, item.type)) {
      throw Refusal(item.where + ": " + std::string(item.type_name) + " is not allowed; expected " +
                    (is_text(row->value) ? "text in quotes" : allowed(row->value)));
    }
    take(*row, Source::kFile, item.where, base::view_of(item.text));
  }

  static bool has_type(const Value& value, TomlType type) {
    if (is_text(value)) return type == TomlType::kString;
    if (!is_boolean(value)) return type == TomlType::kInteger;
    return type == TomlType::kBoolean || type == TomlType::kString || type == TomlType::kInteger;
  }

  static std::vector<std::string_view> names_in_file() {
    std::vector<std::string_view> names;
    for (const Row& row : rows()) {
      if (row.scope != Scope::kCommandLine) names.push_back(row.name);
    }
    return names;
  }

  /// Returns whether the variable is set; nullptr names none.
  bool read_variable(const Row& row, const char* name, OwnVariables& variables) {
    const char* const text = name == nullptr ? nullptr : variables.take(name);
    if (text == nullptr) {
      return false;
    }
    take(row, Source::kEnvironment, name, text);
    return true;
  }

  void require(bool given, std::string_view name, bool needed, const std::string& flag) const {
    if (given && !needed) {
      throw Refusal(where(name) + ": " + flag + " is needed too");
    }
  }

  void read_token() {
    const std::filesystem::path& file = settings_.auth_token_file;
    const std::string source = where("auth-token-file");
    try {
      base::SecretFile content = base::read_secret_file(file.string());
      settings_.auth_token = std::move(content.secret);
      if (content.readable_by_others) {
        warnings_.push_back(source + ": " + in_quotes(file.string()) + " is readable by others");
      }
    } catch (const base::FileError& error) {
      throw about_file(error.what(), source);
    }
  }

  /// A user who writes --auth-token "$TOKEN" wants a token, even if the variable is not set.
  static void require_token(const Flag& flag) {
    const std::string_view name = flag.row->name;
    if (flag.text.empty() && (name == "auth-token" || name == "auth-token-file")) {
      throw Refusal(flag.where + ": '' is not allowed; expected " + allowed(flag.row->value));
    }
  }

  /// `secret` says that the line holds one; with a space in it, the argument may be its second
  /// part.
  [[noreturn]] static void refuse_argument(const std::string& argument, bool secret) {
    if (secret) {
      throw Refusal(std::string("unexpected argument ") + kNotShown +
                    ", as it may belong to --auth-token");
    }
    if (!argument.starts_with('-')) {
      throw Refusal("unexpected argument " + in_quotes(argument));
    }
    // Without what follows the '=': a flag mistyped may carry a secret.
    throw Refusal("unknown flag " + in_quotes(argument.substr(0, argument.find('='))) +
                  "; --help shows those there are");
  }

  /// The row of a key in the file; nullptr if there is none.
  static const Row* row_in_file(std::string_view key) {
    for (const Row& row : rows()) {
      if (row.name == key && row.scope != Scope::kCommandLine) {
        return &row;
      }
    }
    return nullptr;
  }

  Settings settings_;
  std::map<std::string_view, Given> given_;  ///< by the row's name
  std::vector<std::string> warnings_;
  std::vector<std::string> environment_warnings_;
};

/// The effective configuration as a file that --config takes; warnings as comments in front.
std::string to_toml(const Settings& settings, const std::vector<std::string>& warnings) {
  std::string text;
  for (const std::string& warning : warnings) {
    text += "# warning: " + warning + "\n";
  }
  std::string_view group;
  for (const Row& row : rows()) {
    if (row.scope != Scope::kSetting) {
      continue;
    }
    if (row.group != group) {
      group = row.group;
      text += (text.empty() ? "# " : "\n# ") + std::string(group) + "\n";
    }
    const std::string value = show(row.value, settings);
    text += std::string(row.name) + " = " + (is_text(row.value) ? to_toml_string(value) : value);
    text += "\n";
  }
  return text;
}

/// What keeps the process's effective user from having all of `rights` (R_OK, W_OK, X_OK) to
/// `path`.
std::error_code what_keeps_from(int rights, const fs::path& path) {
  if (::faccessat(AT_FDCWD, path.c_str(), rights, AT_EACCESS) == 0) return {};
  return {errno, std::generic_category()};
}

std::optional<std::string> why_not_creatable_in(const fs::path& directory) {
  std::error_code error;
  const bool is_directory = fs::is_directory(directory, error);
  if (!error && !is_directory) error = std::make_error_code(std::errc::not_a_directory);
  if (!error) error = what_keeps_from(R_OK | W_OK | X_OK, directory);
  if (!error) return std::nullopt;
  return "cannot create it in " + base::in_quotes(directory.string()) + ": " + error.message();
}

/// Whether the server could keep its state in `file`: a regular file that it may read and write,
/// or none yet in a directory where it may create one. Changes nothing. Returns what is wrong, in
/// words that follow the file's name.
std::optional<std::string> why_unusable_as_state(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  switch (status.type()) {
    case fs::file_type::regular:
      error = what_keeps_from(R_OK | W_OK, file);
      return error ? std::optional(error.message()) : std::nullopt;
    case fs::file_type::not_found:
      if (fs::is_symlink(fs::symlink_status(file, error))) {
        return "it is a link to a file that does not exist";
      }
      return why_not_creatable_in(file.has_parent_path() ? file.parent_path() : fs::path("."));
    case fs::file_type::none:
      return error.message();
    case fs::file_type::directory:
      return std::make_error_code(std::errc::is_a_directory).message();
    default:
      return "it is not a regular file";
  }
}

void check_files(const Collector& collector) {
  const std::filesystem::path& file = collector.settings().fence_state_file;
  if (file.empty()) {
    return;
  }
  if (const std::optional<std::string> reason = why_unusable_as_state(file)) {
    throw about_file("cannot use " + base::in_quotes(file.string()) + ": " + *reason,
                     collector.where("fence-state-file"));
  }
}

/// Returns the warnings of `check`; throws what it finds wrong.
std::vector<std::string> ask(const Check& check, const Collector& collector, Purpose purpose) {
  if (!check) {
    return {};
  }
  Findings findings = check(collector.settings(), purpose);
  if (const std::optional<Problem>& problem = findings.problem) {
    throw about_file(problem->what, collector.where(problem->setting));
  }
  for (std::string& warning : findings.warnings) {
    warning = base::escaped(warning);
  }
  return std::move(findings.warnings);
}

/// `load`, with refusals thrown.
std::variant<Loaded, Exit> load_or_throw(std::span<const char* const> arguments,
                                         Environment environment, const Check& check) {
  Collector collector;
  const Settings& settings = collector.settings();
  const CommandLine line = parse_command_line(arguments);
  if (line.asks_for_help()) {
    return Exit{.status = 0, .text = help_text()};
  }
  collector.read_command_line(line);
  if (settings.version) {
    return Exit{.status = 0, .text = "dflockd " DFLOCKD_VERSION "\n"};
  }
  collector.read_environment(environment);
  collector.read_file();
  collector.apply_shorthands();
  collector.check_pairs();
  collector.choose_token();
  const Purpose purpose = settings.check_config ? Purpose::kCheckConfig : Purpose::kRun;
  if (purpose == Purpose::kCheckConfig) {
    check_files(collector);
  }
  std::vector<std::string> warnings = collector.warnings();
  std::ranges::move(ask(check, collector, purpose), std::back_inserter(warnings));
  if (purpose == Purpose::kCheckConfig) {
    std::vector<std::string> all = collector.environment_warnings();
    std::ranges::move(warnings, std::back_inserter(all));
    return Exit{.status = 0, .text = to_toml(settings, all)};
  }
  return Loaded{.config = settings,
                .warnings = std::move(warnings),
                .environment_warnings = collector.environment_warnings()};
}

}  // namespace

std::variant<Loaded, Exit> load(std::span<const char* const> arguments, Environment environment,
                                const Check& check) {
  constexpr int kUsageError = 2;
  try {
    return load_or_throw(arguments, environment, check);
  } catch (const Refusal& refusal) {
    return Exit{.status = kUsageError, .text = "dflockd: " + std::string(refusal.what()) + "\n"};
  }
}

std::vector<std::string_view> differing(const Config& left, const Config& right) {
  Settings left_settings;
  Settings right_settings;
  static_cast<Config&>(left_settings) = left;
  static_cast<Config&>(right_settings) = right;
  std::vector<std::string_view> names;
  for (const Row& row : rows()) {
    if (row.scope == Scope::kSetting &&
        show(row.value, left_settings) != show(row.value, right_settings)) {
      names.push_back(row.name);
    }
  }
  return names;
}

}  // namespace dflockd::config
