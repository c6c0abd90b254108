#include "base/token.hpp"

#include "base/text.hpp"

namespace dflockd::base {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

/// Why trimmed text is no token, in words that follow the file's name; nullptr if it is one.
const char* why_no_token(std::string_view text) {
  if (text.empty()) return "it holds no token";
  if (text.find('\n') != std::string_view::npos) return "it holds more than one line";
  if (text.size() > kMaxTokenSize) return "it holds more than 65536 bytes";
  return nullptr;
}

}  // namespace

bool is_token(std::string_view text) {
  return trim(text, kWhiteSpace) == text && why_no_token(text) == nullptr;
}

TokenFile read_token_file(const std::string& path, Pipes pipes) {
  const SmallFile file = read_small_file(path, pipes);
  const std::string_view text = trim(view_of(file.bytes), kWhiteSpace);
  if (const char* const reason = why_no_token(text)) {
    throw FileError("cannot use " + in_quotes(path) + ": " + reason +
                    "; expected a line of 1 to 65536 bytes");
  }
  return {.token = Secret(text), .readable_by_others = file.readable_by_others};
}

}  // namespace dflockd::base
