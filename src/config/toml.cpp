#include "config/toml.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "config/file_content.hpp"
#include "config/refusal.hpp"

namespace dflockd::config {
namespace {

constexpr std::string_view kBlanks = " \t";

bool is_bare_key_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

bool is_control(char c) {
  return (c >= '\0' && c < ' ' && c != '\t') || c == '\x7f';
}

/// Appends the code point in UTF-8. Returns false if it is not one that text may hold.
bool append_utf8(std::uint32_t code, WipedBytes& text) {
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code == 0 || surrogate || code > 0x10ffff) {
    return false;
  }
  const auto continuation = [code](int shift) {
    return static_cast<char>(0x80 | ((code >> shift) & 0x3f));
  };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.insert(text.end(), {static_cast<char>(0xc0 | (code >> 6)), continuation(0)});
  } else if (code < 0x10000) {
    text.insert(text.end(),
                {static_cast<char>(0xe0 | (code >> 12)), continuation(6), continuation(0)});
  } else {
    text.insert(text.end(), {static_cast<char>(0xf0 | (code >> 18)), continuation(12),
                             continuation(6), continuation(0)});
  }
  return true;
}

WipedBytes bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

std::optional<std::uint32_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint32_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::uint32_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<std::uint32_t>(c - 'A' + 10);
  return std::nullopt;
}

/// Tells whether the value of a key may be shown.
using MayShow = std::function<bool(std::string_view key)>;

/// Reads one line from left to right.
class LineReader {
 public:
  /// `where` is "FILE:LINE", and goes in front of what is wrong with the line.
  LineReader(std::string_view line, const std::string& where, const MayShow& may_show)
      : rest_(line), where_(where), may_show_(may_show) {}

  /// The line's setting, or nothing if it holds none.
  std::optional<TomlItem> read() {
    skip_blanks();
    if (at_end()) {
      return std::nullopt;
    }
    if (rest_.front() == '[') {
      refuse("a section is not allowed; there are none");
    }
    TomlItem item;
    item.key = view_of(read_key());
    shown_ = may_show_(item.key);
    item.where = where_ + ": " + printable(item.key);
    skip_blanks();
    if (!skip('=') || item.key.empty()) {
      refuse("expected 'key = value'");
    }
    skip_blanks();
    item.quoted = rest_.starts_with('"') || rest_.starts_with('\'');
    item.text = read_value();
    skip_blanks();
    if (!at_end()) {
      refuse(show(rest_) + " is not allowed behind the value");
    }
    return item;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw Refusal(where_ + ": " + what); }

  /// A part of the line for an error line.
  [[nodiscard]] std::string show(std::string_view text) const {
    return shown_ ? in_quotes(text) : kNotShown;
  }

  /// Whether only a comment, or nothing, is left.
  [[nodiscard]] bool at_end() const { return rest_.empty() || rest_.front() == '#'; }

  void skip_blanks() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size()));
  }

  bool skip(char expected) {
    const bool found = rest_.starts_with(expected);
    rest_.remove_prefix(found ? 1 : 0);
    return found;
  }

  char take() {
    if (rest_.empty()) {
      refuse("a closing quote is missing");
    }
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  std::string_view take(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }

  WipedBytes read_key() {
    if (skip('"')) return read_basic_string();
    if (skip('\'')) return read_literal_string();
    std::size_t size = 0;
    while (size < rest_.size() && is_bare_key_character(rest_[size])) {
      ++size;
    }
    return bytes_of(take(size));
  }

  WipedBytes read_value() {
    if (skip('"')) return read_basic_string();
    if (skip('\'')) return read_literal_string();
    const std::string_view word = take(std::min(rest_.find_first_of(" \t#"), rest_.size()));
    const bool number = word.find_first_of("0123456789") == (word.starts_with('-') ? 1 : 0);
    if (!number && word != "true" && word != "false") {
      refuse(show(word) + " is not a value; expected \"text\", a number, true or false");
    }
    return bytes_of(word);
  }

  WipedBytes read_literal_string() {
    WipedBytes text;
    for (char c = take(); c != '\''; c = take()) {
      text.push_back(c);
    }
    return text;
  }

  WipedBytes read_basic_string() {
    WipedBytes text;
    for (char c = take(); c != '"'; c = take()) {
      if (c == '\\') {
        read_escape(text);
      } else {
        text.push_back(c);
      }
    }
    return text;
  }

  void read_escape(WipedBytes& text) {
    constexpr std::string_view kNames = "btnfr\"\\";
    constexpr std::string_view kMeanings = "\b\t\n\f\r\"\\";
    const char name = take();
    if (const std::size_t index = kNames.find(name); index != std::string_view::npos) {
      text.push_back(kMeanings[index]);
    } else if (name == 'u' || name == 'U') {
      read_code_point(name == 'u' ? 4 : 8, text);
    } else {
      refuse(show(std::string("\\") + name) + " is not an escape sequence");
    }
  }

  void read_code_point(std::size_t digits, WipedBytes& text) {
    const std::string_view written = take(digits);
    std::uint32_t code = 0;
    bool valid = written.size() == digits;
    for (const char c : written) {
      const std::optional<std::uint32_t> digit = hex_digit(c);
      valid = valid && digit.has_value();
      code = code << 4 | digit.value_or(0);
    }
    if (!valid || !append_utf8(code, text)) {
      refuse(show(written) + " is not the number of a character");
    }
  }

  std::string_view rest_;
  const std::string& where_;
  const MayShow& may_show_;
  bool shown_ = false;  ///< not before the key is known
};

}  // namespace

std::vector<TomlItem> read_toml_file(const std::filesystem::path& file, const std::string& source,
                                     const MayShow& may_show) {
  const std::string name = printable(file.string());
  const FileContent content = read_file(file, source);
  std::vector<TomlItem> items;
  std::string_view rest = view_of(content.bytes);
  for (std::size_t number = 1; !rest.empty(); ++number) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    const std::string where = name + ":" + std::to_string(number);
    if (std::ranges::any_of(line, is_control)) {
      throw Refusal(where + ": holds a control character");
    }
    if (std::optional<TomlItem> item = LineReader(line, where, may_show).read()) {
      items.push_back(*std::move(item));
    }
  }
  return items;
}

std::string to_toml_string(std::string_view text) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (is_control(c)) {
      const auto byte = static_cast<unsigned char>(c);
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
