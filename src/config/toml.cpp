#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <string.h>

#include "config/sources.hpp"

// The library asserts what it then handles, such as the file "[.".
#define TOML_ASSERT(condition) static_cast<void>(0)
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "base/small_file.hpp"
#include "base/text.hpp"

namespace dflockd::config {
namespace {

std::string place(const std::string& file, const toml::source_position& at) {
  return file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

/// The line's key, as far as the line alone shows it.
std::string_view key_in(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t\"'"), line.size()));
  constexpr std::string_view kBareKey =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  return line.substr(0, line.find_first_not_of(kBareKey));
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(lines.back().size() + 1, text.size()));
  }
  return lines;
}

/// Each dot of a key is a table within the one before, and recursion in the library.
void refuse_deep_keys(const std::vector<std::string_view>& lines, const std::string& file) {
  constexpr std::ptrdiff_t kMostDots = 10'000;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (std::ranges::count(lines[i], '.') > kMostDots) {
      throw Refusal(file + ":" + std::to_string(i + 1) +
                    ":1: more than 10000 dots in a line; expected a setting a line");
    }
  }
}

/// What is wrong with the file, with details only where `may_show` allows the line to be quoted.
std::string error_line(const toml::parse_error& error, const std::string& file,
                       const std::vector<std::string_view>& lines,
                       const std::function<bool(std::string_view key)>& may_show) {
  const toml::source_position at = error.source().begin;
  std::string text = place(file, at) + ": not TOML";
  if (at.line <= lines.size() && may_show(key_in(lines[at.line - 1]))) {
    std::string_view reason = error.description();
    constexpr std::string_view kPrefix = "Error while parsing ";
    if (reason.starts_with(kPrefix)) reason.remove_prefix(kPrefix.size());
    text += " (" + base::escaped(reason) + ")";
  }
  return text + "; expected key = \"text\", a number, true or false";
}

/// Takes the value over and wipes the library's, though not what that copied while it read.
void take_value(toml::node& node, TomlItem& item) {
  const auto take = [&item](TomlType type, std::string_view name, std::string_view text) {
    item.type = type;
    item.type_name = name;
    item.text.assign(text.begin(), text.end());
  };
  if (auto* const text = node.as_string()) {
    take(TomlType::kString, "text", text->get());
    ::explicit_bzero(text->get().data(), text->get().size());
  } else if (const auto* const number = node.as_integer()) {
    take(TomlType::kInteger, "an integer", std::to_string(number->get()));
  } else if (const auto* const boolean = node.as_boolean()) {
    take(TomlType::kBoolean, "a boolean", boolean->get() ? "true" : "false");
  } else if (node.is_table() || node.is_array_of_tables()) {
    take(TomlType::kSection, "a section", {});
  } else {
    const bool is_number = node.is_floating_point();
    take(TomlType::kOther, node.is_array() ? "an array" : is_number ? "a fraction" : "a date", {});
  }
}

}  // namespace

std::vector<TomlItem> read_toml_file(const std::filesystem::path& file,
                                     const std::function<bool(std::string_view key)>& may_show) {
  const std::string name = base::escaped(file.string());
  const base::SmallFile content = base::read_small_file(file.string());
  const std::vector<std::string_view> lines = lines_of(base::view_of(content.bytes));
  refuse_deep_keys(lines, name);
  std::vector<std::pair<toml::source_position, TomlItem>> found;
  try {
    toml::table table = toml::parse(base::view_of(content.bytes));
    for (auto&& [key, node] : table) {
      const toml::source_position at = key.source().begin;
      TomlItem item;
      item.key = key.str();
      item.where = place(name, at) + ": " + base::escaped(item.key);
      take_value(node, item);
      found.emplace_back(at, std::move(item));
    }
  } catch (const toml::parse_error& error) {
    throw Refusal(error_line(error, name, lines, may_show));
  }
  std::ranges::sort(found, [](const auto& left, const auto& right) {
    return std::pair(left.first.line, left.first.column) <
           std::pair(right.first.line, right.first.column);
  });
  std::vector<TomlItem> items;
  items.reserve(found.size());
  for (auto& [at, item] : found) items.push_back(std::move(item));
  return items;
}

std::string to_toml_string(std::string_view text) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      result += "\\u00";
      result += kHexDigits[byte >> 4];
      result += kHexDigits[byte & 0xf];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace dflockd::config
