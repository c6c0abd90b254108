// Writes what lists the flags besides --help: manual pages and the example file from templates, and
// the shells' completions. Runs when the project is built.
//
// Usage: generate TEMPLATES DIRECTORY
//
// In a template, a line "@flags GROUP@" stands for the items of a manual page for a group's flags
// ("@flags@": all), "@keys GROUP@" for those of the file's keys, and "@settings@" for the file.

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>

#include "flags.hpp"

namespace dflockd::documents {
namespace {

enum class Form { kFlags, kKeys };

/// Sentences in the language of manual pages: each on a line of its own, what has a meaning marked
/// up.
std::string to_mdoc(const std::string& text, Form form) {
  static const std::regex kMarkup(
      R"re((?:--([a-z0-9-]+)(=[a-z]+)?|`([^`]+)`|(SIG[A-Z]+)|([a-z.-]+)\((\d)\))([.,;:)]?))re");
  constexpr std::size_t kWidth = 78;
  std::string lines;
  std::string line;
  const auto end_line = [&] {
    if (!line.empty()) lines += line + "\n";
    line.clear();
  };
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    std::smatch found;
    if (std::regex_match(word, found, kMarkup)) {
      end_line();
      if (found[1].matched) line = (form == Form::kFlags ? ".Fl -" : ".Ic ") + found[1].str();
      if (found[2].matched) line += " Ns " + found[2].str();
      if (found[3].matched) line = ".Ql " + found[3].str();
      if (found[4].matched) line = ".Dv " + found[4].str();
      if (found[5].matched) line = ".Xr " + found[5].str() + " " + found[6].str();
      if (found[7].length() > 0) line += " " + found[7].str();
      end_line();
      continue;
    }
    if (line.size() + word.size() >= kWidth) end_line();
    if (line.empty() && word.front() == '\'') line = "\\&";
    line += (line.empty() || line == "\\&" ? "" : " ") + word;
    if (word.ends_with('.')) end_line();
  }
  end_line();
  return lines;
}

std::string lower_words(const std::string& value) {
  std::string text;
  for (const char c : value) {
    text += c == '|' ? std::string(" | ") : std::string(1, static_cast<char>(std::tolower(c)));
  }
  return text;
}

/// ".It Fl -name Ar value"
std::string head_of(const Flag& flag) {
  std::string head = ".It Fl ";
  if (flag.letter != '\0') head += std::string(1, flag.letter) + " , Fl ";
  head += "-" + flag.name;
  if (flag.value.empty()) return head + "\n";
  const bool is_choice = flag.value.find('|') != std::string::npos;
  const std::string value = (is_choice ? "Cm " : "Ar ") + lower_words(flag.value);
  return head + (flag.value_is_optional ? " Ns Op = Ns " : " ") + value + "\n";
}

std::string flag_item(const Flag& flag, const std::vector<std::string>& subcommands) {
  std::string item =
      head_of(flag) + to_mdoc(sentence(flag.help) + " " + flag.details, Form::kFlags);
  if (!flag.negation.empty()) {
    item += ".Fl -" + flag.negation + "\nturns it off, as\n.Cm =false\ndoes.\n";
  }
  std::string origin;
  if (!flag.environment.empty()) origin = ".Pq Ev " + flag.environment;
  if (!flag.default_value.empty()) {
    origin += (origin.empty() ? ".Pq " : " , No ") + ("default " + flag.default_value);
  }
  if (!origin.empty()) item += origin + "\n";
  std::string takers;
  for (const std::string& name : subcommands) takers += (takers.empty() ? "" : " , ") + name;
  return takers.empty() ? item : item + ".Pq Cm " + takers + "\n";
}

std::string key_item(const Flag& flag) {
  return ".It Ic " + flag.name + "\n" +
         to_mdoc(sentence(flag.help) + " " + flag.details, Form::kKeys) +
         "Default: " + flag.toml_default + "\n";
}

/// A key of the example file below what it means.
std::string setting(const Flag& flag) {
  constexpr std::size_t kWidth = 100;
  std::string text = sentence(flag.help) + " " + flag.details;
  text = std::regex_replace(text, std::regex("`|--(?=[a-z])"), "");
  std::string lines;
  std::string line = "#";
  std::istringstream words(text);
  for (std::string word; words >> word; line += " " + word) {
    if (line.size() + word.size() >= kWidth) {
      lines += line + "\n";
      line = "#";
    }
  }
  return lines + line + "\n" + flag.name + " = " + flag.toml_default + "\n";
}

std::string settings_of(const Program& program) {
  std::string text;
  std::string group;
  for (const Flag& flag : program.flags) {
    if (flag.toml_default.empty() || flag.is_shorthand) continue;
    if (flag.group != group) text += "\n# " + (group = flag.group) + "\n";
    text += "\n" + setting(flag);
  }
  return text;
}

/// A template with its marks filled in. Each flag has to have its place.
class Page {
 public:
  explicit Page(const Program& program) : uses_(uses_of(program)), program_(program) {}

  std::string fill(std::istream& source) {
    static const std::regex kMark("@(flags|keys|settings)(?: ([A-Za-z ]+))?@");
    std::string text;
    for (std::string line; std::getline(source, line);) {
      std::smatch found;
      text += std::regex_match(line, found, kMark) ? part(found[1], found[2]) : line + "\n";
    }
    if (!listed_.empty() && listed_.size() != expected_) {
      throw std::runtime_error("a group of flags is not listed");
    }
    return text;
  }

 private:
  std::string part(const std::string& what, const std::string& group) {
    if (what == "settings") return settings_of(program_);
    std::string items;
    expected_ = 0;
    for (const auto& [flag, subcommands] : uses_) {
      if (what == "keys" && flag.toml_default.empty()) continue;
      ++expected_;
      const std::string place = subcommands.empty() ? flag.group : "subcommands";
      if (group != place) continue;
      listed_.insert(flag.name);
      items += what == "keys" ? key_item(flag) : flag_item(flag, subcommands);
    }
    return ".Bl -tag -width Ds\n" + items + ".El\n";
  }

  std::vector<Use> uses_;
  const Program& program_;
  std::set<std::string> listed_;
  std::size_t expected_ = 0;
};

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) throw std::runtime_error("cannot write " + file.string());
}

void fill_template(const Program& program, const std::filesystem::path& source,
                   const std::filesystem::path& directory) {
  std::ifstream stream(source);
  if (!stream) throw std::runtime_error("cannot read " + source.string());
  write(directory / source.stem(), Page(program).fill(stream));
}

void generate(const std::filesystem::path& templates, const std::filesystem::path& directory) {
  const Program server = dflockd();
  fill_template(server, templates / "dflockd.8.in", directory);
  fill_template(server, templates / "dflockd.toml.5.in", directory);
  fill_template(server, templates / "dflockd.toml.example.in", directory);
  fill_template(dflockd_bench(), templates / "dflockd-bench.1.in", directory);
  fill_template(dflockctl(), templates / "dflockctl.1.in", directory);
  for (const Program& program : {server, dflockd_bench(), dflockctl()}) {
    write(directory / (program.name + ".bash"), bash_completion(program));
    write(directory / ("_" + program.name), zsh_completion(program));
    write(directory / (program.name + ".fish"), fish_completion(program));
  }
}

}  // namespace
}  // namespace dflockd::documents

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("expected TEMPLATES DIRECTORY");
  dflockd::documents::generate(argv[1], argv[2]);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "generate: %s\n", error.what());
  return 1;
}
