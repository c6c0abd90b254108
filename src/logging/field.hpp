// One key=value of a log line.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <variant>

namespace dflockd::logging {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError };

/// Refers to the text it shows, so it must not outlive the call that it is made for. The
/// constructors are implicit so that a line's fields can be written as {{"port", port}, ...}.
class Field {
 public:
  using Value = std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool>;

  constexpr Field(std::string_view key, std::string_view text) : key_(key), value_(text) {}
  constexpr Field(std::string_view key, const char* text)
      : key_(key), value_(std::string_view(text)) {}
  constexpr Field(std::string_view key, bool value) : key_(key), value_(value) {}
  constexpr Field(std::string_view key, std::signed_integral auto value)
      : key_(key), value_(std::int64_t{value}) {}
  constexpr Field(std::string_view key, std::unsigned_integral auto value)
      : key_(key), value_(std::uint64_t{value}) {}
  constexpr Field(std::string_view key, std::floating_point auto value)
      : key_(key), value_(static_cast<double>(value)) {}

  /// Shown as a number; the key should end in `_s`.
  constexpr Field(std::string_view key, std::chrono::seconds value)
      : key_(key), value_(std::int64_t{value.count()}) {}

  /// A character is not a number: log it as text.
  Field(std::string_view key, char character) = delete;

  [[nodiscard]] constexpr std::string_view key() const { return key_; }
  [[nodiscard]] constexpr const Value& value() const { return value_; }

 private:
  std::string_view key_;
  Value value_;
};

}  // namespace dflockd::logging
