// Feeds what may be a configuration to its reader: a file, a token file, and then arguments and
// environment variables. Any text gives a configuration or one line that says where the error is,
// and no secret. A configuration that is printed is one that gives the same again.
//
// The input is text in parts, with a line "---" between each two: the file, the token file, then
// one argument or NAME=VALUE each. The secret that must not be shown is "hunter2".
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "check.hpp"
#include "config/config.hpp"
#include "config/rows.hpp"

namespace {

using namespace dflockd::config;
using dflockd::fuzz::check;

constexpr std::string_view kSecret = "hunter2";

/// A file in memory, with a path.
class MemoryFile {
 public:
  explicit MemoryFile(const char* name) : fd_(::memfd_create(name, MFD_CLOEXEC)) {
    check(fd_ >= 0, "there are files in memory");
    path_ = "/proc/self/fd/" + std::to_string(fd_);
  }

  void write(std::string_view content) const {
    check(::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, content.data(), content.size(), 0) ==
                                          static_cast<ssize_t>(content.size()),
          "a file in memory can be written");
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

/// What is given to the reader.
struct Given {
  std::string file;
  std::optional<std::string> token_file;
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;
};

Given given_in(std::string_view input) {
  constexpr std::string_view kSeparator = "\n---\n";
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= input.size();) {
    const std::size_t end = std::min(input.find(kSeparator, begin), input.size());
    parts.emplace_back(input.substr(begin, end - begin));
    begin = end + kSeparator.size();
  }
  Given given;
  if (!parts.empty()) given.file = parts[0];
  if (parts.size() > 1) given.token_file = parts[1];
  for (std::size_t i = 2; i < parts.size(); ++i) {
    std::string text = parts[i].substr(0, parts[i].find('\0'));  // as the system would pass it
    const std::size_t equals = text.find('=');
    if (text.starts_with("DFLOCKD_") && equals != std::string::npos) {
      given.environment[text.substr(0, equals)] = text.substr(equals + 1);
    } else {
      given.arguments.push_back(std::move(text));
    }
  }
  return given;
}

using Result = std::variant<Loaded, Exit>;

/// The files that all inputs are written to, one after the other.
const MemoryFile& config_file() {
  static const MemoryFile file("config");
  return file;
}

Result load_it(const Given& given, bool check_config) {
  static const MemoryFile token_file("token");
  config_file().write(given.file);
  std::map<std::string, std::string> environment = given.environment;
  if (given.token_file) {
    token_file.write(*given.token_file);
    environment["DFLOCKD_AUTH_TOKEN_FILE"] = token_file.path();
  }
  std::vector<const char*> arguments{"--config", config_file().path().c_str()};
  if (check_config) arguments.push_back("--check-config");
  for (const std::string& argument : given.arguments) arguments.push_back(argument.c_str());
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  std::vector<const char*> pointers;
  for (const std::string& variable : variables) pointers.push_back(variable.c_str());
  return load(arguments, pointers);
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string_view trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text.substr(0, text.find_last_not_of(" \t\r") + 1);
}

const Row* row_named(std::string_view name) {
  const auto row = std::ranges::find(rows(), name, &Row::name);
  return row == rows().end() ? nullptr : &*row;
}

// --- Where the secret may be shown ---

bool is_no_secret(std::string_view name) {
  const Row* const row = row_named(name);
  return row != nullptr && !is_secret(row->value);
}

/// Whether the line has the secret where it is none.
bool may_show_line(std::string_view line) {
  if (line.find(kSecret) == std::string_view::npos) return false;
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos || line.find(kSecret) < equals) return true;
  const std::string_view key = trim(line.substr(0, equals));
  const bool is_quoted = key.starts_with('"') || key.starts_with('\'');
  return is_quoted ? key != "\"auth-token\"" && key != "'auth-token'" : is_no_secret(key);
}

bool may_show_argument(std::string_view argument, std::string_view before) {
  const std::size_t at = argument.find(kSecret);
  if (at == std::string_view::npos || before == "--auth-token") return false;
  const std::size_t equals = argument.find('=');
  if (!argument.starts_with("--") || equals > at) return true;
  std::string_view name = argument.substr(2, equals - 2);
  if (name.starts_with("no-")) name.remove_prefix(3);
  return is_no_secret(name);
}

bool may_show_secret(const Given& given) {
  if (std::ranges::any_of(lines_of(given.file), may_show_line)) return true;
  std::string_view before;
  for (const std::string& argument : given.arguments) {
    if (may_show_argument(argument, before)) return true;
    before = argument;
  }
  return std::ranges::any_of(given.environment, [](const auto& variable) {
    return variable.first != "DFLOCKD_AUTH_TOKEN" &&
           variable.second.find(kSecret) != std::string::npos;
  });
}

// --- Checks ---

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f;
  });
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// An error begins with where it is, or ends with who named the file that it is about. If it is in
/// the configuration file, there is the line, or the one behind the last, and the column.
void check_place(std::string_view text, const Given& given) {
  if (text.starts_with("dflockd: cannot ")) {
    return check(text.ends_with(")") && contains(text, " ("), "an error names who named the file");
  }
  const std::string place = "dflockd: " + config_file().path() + ":";
  if (!text.starts_with(place)) {
    check(contains(text, "--") || contains(text, "DFLOCKD_") || contains(text, "argument") ||
              contains(text, "flag"),
          "an error says where it is");
    return;
  }
  const std::string_view rest = text.substr(place.size());
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  check(error == std::errc() && *end == ':', "an error in the file tells the line");
  check(number >= 1 && number <= lines_of(given.file).size() + 1, "the line that is told is there");
  const auto [after, no_column] = std::from_chars(end + 1, rest.data() + rest.size(), number);
  check(no_column == std::errc() && *after == ':' && number >= 1, "and the column");
}

void check_error(std::string_view text, const Given& given) {
  check(text.starts_with("dflockd: ") && text.ends_with('\n'), "an error is a line of dflockd's");
  text.remove_suffix(1);
  check(is_printable(text), "an error is one line for any terminal");
  check(may_show_secret(given) || !contains(text, kSecret), "an error shows no secret");
  check_place(text, given);
}

void check_config(const Config& config) {
  check(!config.host.empty(), "there is a host");
  check(config.tls_cert.empty() == config.tls_key.empty(), "a certificate has its key");
  check(config.tls_client_ca.empty() || !config.tls_cert.empty(), "a client CA needs TLS");
  check(config.http_rate_limit_burst == 0 || config.http_rate_limit_per_ip > 0,
        "a burst needs a rate");
  const std::string_view token = config.auth_token.view();
  check(token.size() <= 65'536 && !contains(token, "\n"), "a token fits a line of auth");
  check(token.find_first_of(" \t\r") != 0, "a token has no white space in front");
  check(differing(config, config).empty(), "a configuration is itself");
  Settings settings;
  static_cast<Config&>(settings) = config;
  for (const Row& row : rows()) {
    if (row.scope != Scope::kSetting || is_secret(row.value)) continue;
    Settings again;
    const std::string shown = show(row.value, settings);
    check(read(row.value, shown, again) && show(row.value, again) == shown,
          "a value that is in force is one that is allowed");
  }
}

/// The value that a line of a plain kind gives a row, as it is printed; or nothing.
std::optional<std::string> plain_value(const Row& row, std::string_view value) {
  if (value == "true" || value == "false") return std::string(value);
  const bool is_number =
      !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
  if (is_number && !is_boolean(row.value)) return std::string(value);
  const bool is_plain_text =
      std::holds_alternative<Path>(row.value) || std::holds_alternative<Host>(row.value);
  const bool is_quoted = value.size() >= 2 && value.front() == '"' && value.back() == '"';
  if (!is_plain_text || !is_quoted || row.name == "auth-token-file") return std::nullopt;
  const std::string_view text = value.substr(1, value.size() - 2);
  for (const char c : text) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '/' || c == '.';
    if (!is_plain) return std::nullopt;
  }
  return std::string(value);
}

/// What the file says in plain lines is in force if nothing else says something.
void check_plain_lines(const Given& given, std::string_view printed) {
  if (contains(given.file, "\"\"\"") || contains(given.file, "'''")) return;  // texts of lines
  for (const std::string& line : lines_of(given.file)) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const std::string_view name = trim(std::string_view(line).substr(0, equals));
    const Row* const row = row_named(name);
    if (row == nullptr || row->scope != Scope::kSetting) continue;
    const auto value = plain_value(*row, trim(std::string_view(line).substr(equals + 1)));
    if (!value) continue;
    check(contains(printed, "\n" + std::string(name) + " = " + *value + "\n"),
          "what a line of the file says is in force");
  }
}

bool is_beyond_ascii(const std::string& text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

/// The configuration, printed, gives the same again.
void check_printed(const Loaded& loaded, const Given& given) {
  const Result result = load_it(given, true);
  const Exit* const exit = std::get_if<Exit>(&result);
  check(exit != nullptr, "the configuration is printed if that is asked for");
  if (exit->is_error()) {  // what is named there cannot be used
    check(!loaded.config.fence_state_file.empty(), "what is valid is valid when checked");
    return check_error(exit->text, given);
  }
  check(may_show_secret(given) || !contains(exit->text, kSecret), "no secret is printed");
  if (given.arguments.empty() && given.environment.empty()) {
    check_plain_lines(given, "\n" + exit->text);
  }
  // TOML cannot say what is not UTF-8.
  if (is_beyond_ascii(exit->text)) return;
  Given printed;
  for (const std::string& line : lines_of(exit->text)) {
    if (line != "auth-token = \"***\"") printed.file += line + "\n";
  }
  const Result again = load_it(printed, false);
  const auto* const loaded_again = std::get_if<Loaded>(&again);
  check(loaded_again != nullptr, "what is printed can be read");
  std::vector<std::string_view> names = differing(loaded.config, loaded_again->config);
  std::erase(names, "auth-token");
  check(names.empty(), "what is printed gives the same configuration");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Given given = given_in({reinterpret_cast<const char*>(data), size});
  const Result result = load_it(given, false);
  if (const auto* const loaded = std::get_if<Loaded>(&result)) {
    for (const auto* const warnings : {&loaded->warnings, &loaded->environment_warnings}) {
      for (const std::string& warning : *warnings) {
        check(is_printable(warning), "a warning is one line for any terminal");
        check(may_show_secret(given) || !contains(warning, kSecret), "a warning shows no secret");
      }
    }
    check_config(loaded->config);
    check_printed(*loaded, given);
    return 0;
  }
  const Exit& exit = std::get<Exit>(result);
  if (exit.is_error()) {
    check_error(exit.text, given);
  } else {
    check(exit.text.ends_with('\n'), "what is asked for is printed");
    check(may_show_secret(given) || !contains(exit.text, kSecret), "no secret is printed");
  }
  return 0;
}
