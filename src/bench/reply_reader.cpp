#include "bench/reply_reader.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace dflockd::bench {
namespace {

constexpr std::string_view kVersion = "HTTP/1.1 ";
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

struct Head {
  int status = 0;
  std::uint32_t body_size = 0;
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// All control characters but the tab: CR and LF have no business within a line either.
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

bool is_token_character(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
         kOthers.find(c) != std::string_view::npos;
}

/// Whether `text` is `lower` in any case.
bool is_name(std::string_view text, std::string_view lower) {
  return std::ranges::equal(
      text, lower, [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; });
}

/// The digits of `text`, all of it, as a number.
template <typename Number>
std::optional<Number> to_number(std::string_view text) {
  if (text.empty() || !std::ranges::all_of(text, is_digit)) return std::nullopt;
  Number number{};
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

/// Takes the first line off `lines`, without its end; a text without one is one line.
std::string_view take_line(std::string_view& lines) {
  const std::string_view line = lines.substr(0, lines.find(kLineEnd));
  lines.remove_prefix(std::min(line.size() + kLineEnd.size(), lines.size()));
  return line;
}

/// The status in a line such as "HTTP/1.1 200 OK", of which the words may lack.
std::optional<int> read_status(std::string_view line) {
  constexpr std::size_t kDigits = 3;
  line.remove_prefix(kVersion.size());
  const auto status = to_number<int>(line.substr(0, kDigits));
  // 1xx is no reply, but announces one to those who have asked for it.
  const bool is_final = status && *status >= 200 && *status <= 599;
  return is_final && line.substr(kDigits).starts_with(' ') ? status : std::nullopt;
}

/// Reads a field into `body_size` if it tells that. False if it is not one, or not understood.
bool read_field(std::string_view line, std::optional<std::uint32_t>& body_size) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view name = line.substr(0, colon);
  if (name.empty() || !std::ranges::all_of(name, is_token_character)) return false;
  if (is_name(name, "transfer-encoding")) return false;
  if (!is_name(name, "content-length")) return true;

  std::string_view value = line.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
  value = value.substr(0, value.find_last_not_of(" \t") + 1);
  if (body_size) return false;
  body_size = to_number<std::uint32_t>(value);
  return body_size.has_value();
}

/// Reads the status line and the fields, without the empty line behind them.
std::optional<Head> read_head(std::string_view lines) {
  const std::string_view first = take_line(lines);
  const auto status = read_status(first);
  if (!status || std::ranges::any_of(first, is_control)) return std::nullopt;
  std::optional<std::uint32_t> body_size;
  while (!lines.empty()) {
    const std::string_view line = take_line(lines);
    if (std::ranges::any_of(line, is_control)) return std::nullopt;
    if (!read_field(line, body_size)) return std::nullopt;
  }
  const bool has_body = *status != 204 && *status != 304;
  if (has_body != body_size.has_value()) return std::nullopt;
  return Head{.status = *status, .body_size = body_size.value_or(0)};
}

}  // namespace

std::string text(const HttpReply& reply) {
  return std::to_string(reply.status).append(reply.body.empty() ? "" : " ").append(reply.body);
}

std::optional<HttpReply> ReplyReader::next() {
  if (broken_) return std::nullopt;
  // A server that speaks something else may wait for more, and be waited for.
  const std::size_t begun = std::min(unread().size(), kVersion.size());
  broken_ = unread().substr(0, begun) != kVersion.substr(0, begun);
  const std::size_t end = unread().find(kHeadEnd);
  if (broken_ || end == std::string_view::npos) return std::nullopt;

  const auto head = read_head(unread().substr(0, end));
  broken_ = !head;
  if (broken_) return std::nullopt;
  const std::string_view rest = unread().substr(end + kHeadEnd.size());
  if (rest.size() < head->body_size) return std::nullopt;
  const std::string_view body = rest.substr(0, head->body_size);
  consume(end + kHeadEnd.size() + body.size());
  return HttpReply{.status = head->status, .body = body};
}

}  // namespace dflockd::bench
