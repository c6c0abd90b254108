#include "logging/line.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "base/text.hpp"

namespace dflockd::logging {
namespace {

constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

std::string_view name_of(Level level) {
  constexpr std::array<std::string_view, 4> kNames{"debug", "info", "warn", "error"};
  return kNames.at(static_cast<std::size_t>(level));
}

/// Whether `name` is a word in snake_case, which needs no escaping in either format.
[[maybe_unused]] bool is_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

template <typename... Arguments>
void append(std::string& line, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::format_to(std::back_inserter(line), format, std::forward<Arguments>(arguments)...);
}

constexpr unsigned char byte(char c) {
  return static_cast<unsigned char>(c);
}

bool is_printable_ascii(char c) {
  return byte(c) >= 0x20 && byte(c) <= 0x7e;
}

// Text.

bool needs_quotes(std::string_view text) {
  return text.empty() || !std::ranges::all_of(text, [](char c) {
           return is_printable_ascii(c) && c != ' ' && c != '"' && c != '=' && c != '\\';
         });
}

void append_escaped(std::string& line, char c) {
  switch (c) {
    case '\n':
      line += "\\n";
      break;
    case '\t':
      line += "\\t";
      break;
    case '"':
    case '\\':
      line += {'\\', c};
      break;
    default:
      if (is_printable_ascii(c)) {
        line += c;
      } else {
        append(line, "\\x{:02x}", byte(c));
      }
  }
}

void append_text_value(std::string& line, std::string_view text) {
  if (!needs_quotes(text)) {
    line += text;
    return;
  }
  line += '"';
  for (const char c : text) {
    append_escaped(line, c);
  }
  line += '"';
}

// JSON.

void append_json_string(std::string& line, std::string_view text) {
  line += '"';
  while (!text.empty()) {
    const std::size_t size = base::utf8_size(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(size, 1));
    if (size == 0) {
      line += kReplacementCharacter;
    } else if (base::is_control(character)) {
      append(line, "\\u{:04x}", byte(character.back()));
    } else {
      if (character == "\"" || character == "\\") line += '\\';
      line += character;
    }
    text.remove_prefix(character.size());
  }
  line += '"';
}

struct TextValue {
  std::string& line;
  void operator()(std::string_view text) { append_text_value(line, text); }
  void operator()(const auto& value) { append(line, "{}", value); }
};

struct JsonValue {
  std::string& line;
  void operator()(std::string_view text) { append_json_string(line, text); }
  void operator()(double value) {
    if (std::isfinite(value)) {
      append(line, "{}", value);
    } else {
      line += "null";
    }
  }
  void operator()(const std::integral auto& value) { append(line, "{}", value); }
};

}  // namespace

void append_text(Level level, std::string_view event, std::span<const Field> fields,
                 std::string& line) {
  assert(is_name(event));
  append(line, "{} {}", name_of(level), event);
  for (const Field& field : fields) {
    assert(is_name(field.key()));
    append(line, " {}=", field.key());
    std::visit(TextValue{line}, field.value());
  }
}

void append_json(Level level, std::string_view event, std::span<const Field> fields,
                 std::string& line) {
  assert(is_name(event));
  append(line, R"("level":"{}","event":"{}")", name_of(level), event);
  for (const Field& field : fields) {
    assert(is_name(field.key()));
    append(line, R"(,"{}":)", field.key());
    std::visit(JsonValue{line}, field.value());
  }
}

}  // namespace dflockd::logging
