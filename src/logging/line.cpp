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

namespace dflockd::logging {
namespace {

constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";
constexpr char kDelete = '\x7f';

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

struct Utf8Form {
  unsigned char first_least, first_most;    ///< range of the first byte
  unsigned char second_least, second_most;  ///< range of the second; later ones are 80..bf
  std::size_t size;                         ///< in bytes
};

/// Well-formed UTF-8 beyond ASCII: table 3-7 of the Unicode standard.
constexpr std::array<Utf8Form, 8> kUtf8Forms{{
    {0xc2, 0xdf, 0x80, 0xbf, 2},
    {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4},
    {0xf4, 0xf4, 0x80, 0x8f, 4},
}};

/// How many bytes the character beyond ASCII takes that `text` begins with; 0 if it is not UTF-8.
std::size_t utf8_size(std::string_view text) {
  const auto within = [](char c, unsigned char least, unsigned char most) {
    return byte(c) >= least && byte(c) <= most;
  };
  for (const Utf8Form& form : kUtf8Forms) {
    if (!within(text[0], form.first_least, form.first_most)) {
      continue;
    }
    const bool valid = text.size() >= form.size &&
                       within(text[1], form.second_least, form.second_most) &&
                       std::ranges::all_of(text.substr(2, form.size - 2),
                                           [&](char c) { return within(c, 0x80, 0xbf); });
    return valid ? form.size : 0;
  }
  return 0;
}

/// Whether valid UTF-8 begins with U+0080 to U+009F, some of which terminals obey.
bool begins_with_c1_control(std::string_view text) {
  return byte(text[0]) == 0xc2 && byte(text[1]) < 0xa0;
}

void append_json_string(std::string& line, std::string_view text) {
  line += '"';
  while (!text.empty()) {
    const char c = text.front();
    std::size_t size = 1;
    if (c == '"' || c == '\\') {
      line += {'\\', c};
    } else if (byte(c) < 0x20 || c == kDelete) {
      append(line, "\\u{:04x}", byte(c));
    } else if (byte(c) < 0x80) {
      line += c;
    } else if (const std::size_t character = utf8_size(text); character > 0) {
      size = character;
      if (begins_with_c1_control(text)) {
        append(line, "\\u{:04x}", byte(text[1]));
      } else {
        line += text.substr(0, size);
      }
    } else {
      line += kReplacementCharacter;
    }
    text.remove_prefix(size);
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
