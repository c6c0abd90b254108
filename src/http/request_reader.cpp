#include "http/request_reader.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "http/authority.hpp"

namespace dflockd::http {

namespace {

/// The longest line of a chunk's size with its extensions.
constexpr std::size_t kMaxChunkLine = 256;

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";
constexpr std::string_view kLineEnd = "\r\n";

constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// The characters of a token (RFC 9110, 5.6.2), by their code.
constexpr std::array<bool, 256> kTokenCharacters = [] {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("!#$%&'*+-.^_`|~"))
    table[static_cast<unsigned char>(c)] = true;
  for (char c = 0; c >= 0 && c < std::numeric_limits<char>::max(); ++c) {
    if (is_letter(c) || (c >= '0' && c <= '9')) table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return kTokenCharacters[static_cast<unsigned char>(c)];
  });
}

/// Bytes that must not stand in a line: all control characters but the tab.
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t start = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(start, text.find_last_not_of(" \t") + 1 - start);
}

/// The number that `digits` are; the largest there is for any that is larger.
std::uint64_t to_number(std::string_view digits, int base) {
  std::uint64_t number = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  return result.ec == std::errc() ? number : std::numeric_limits<std::uint64_t>::max();
}

Method to_method(std::string_view name) {
  for (const Method method :
       {Method::kGet, Method::kHead, Method::kPost, Method::kDelete, Method::kOptions}) {
    if (name == text(method)) return method;
  }
  return Method::kOther;
}

}  // namespace

std::size_t RequestReader::read(std::string_view unread) {
  std::size_t consumed = 0;
  while (state_ == State::kIdle || state_ == State::kPartial) {
    const std::string_view rest = unread.substr(consumed);
    std::size_t size = 0;
    switch (part_) {
      case Part::kRequestLine:
      case Part::kFields:
      case Part::kChunkLine:
      case Part::kTrailers:
        size = read_line(rest);
        break;
      case Part::kBody:
      case Part::kChunk:
        size = read_content(rest);
        break;
      case Part::kChunkEnd:
        size = read_chunk_end(rest);
        break;
    }
    if (size == 0) break;
    consumed += size;
  }
  return consumed;
}

/// Reads a line if it is whole: one of the head, of a chunk's size or of the trailers.
std::size_t RequestReader::read_line(std::string_view unread) {
  const std::size_t end = unread.find('\n', looked_at_);
  const bool is_whole = end != std::string_view::npos;
  const std::size_t size = is_whole ? end + 1 : unread.size();
  // Empty lines before a request line are to be ignored (RFC 9112, 2.2).
  if (part_ == Part::kRequestLine && kLineEnd.starts_with(unread.substr(0, size))) {
    return is_whole ? size : 0;
  }
  state_ = State::kPartial;
  if (!fits(unread.substr(0, size))) return 0;
  looked_at_ = is_whole ? 0 : size;
  if (!is_whole) return 0;
  std::string_view line = unread.substr(0, end);
  if (!line.ends_with('\r')) {
    refuse("a line does not end with CR and LF");
    return 0;
  }
  line.remove_suffix(1);
  return take_line(line) ? size : 0;
}

/// Whether there is room for a line, which may be incomplete.
bool RequestReader::fits(std::string_view line) {
  if (part_ == Part::kChunkLine) {
    return line.size() <= kMaxChunkLine ||
           refuse("the line of a chunk's size is over 256 bytes long");
  }
  // The empty line after the trailers does not count, nor what may become it.
  if (part_ == Part::kTrailers && kLineEnd.starts_with(line)) return true;
  return head_size_ + line.size() <= kMaxHead ||
         refuse(431, "headers_too_large", "the head is over 64 KiB long");
}

bool RequestReader::take_line(std::string_view line) {
  const bool in_head = part_ == Part::kRequestLine || part_ == Part::kFields;
  if (std::ranges::any_of(line, is_control)) {
    return refuse(in_head ? "a control character in the head"
                          : "a control character in the chunked coding");
  }
  if (part_ == Part::kChunkLine) return take_chunk_line(line);
  head_size_ += line.size() + kLineEnd.size();
  if (part_ == Part::kRequestLine) return take_request_line(line);
  if (!line.empty()) return take_field(line);
  if (in_head) return end_head();
  state_ = State::kComplete;
  return true;
}

/// A method, a target and a version with one space between them.
bool RequestReader::take_request_line(std::string_view line) {
  const std::size_t first = std::min(line.find(' '), line.size());
  const std::string_view method = line.substr(0, first);
  const std::string_view rest = line.substr(first);
  const std::size_t second = std::min(rest.find(' ', 1), rest.size());
  const std::string_view version = rest.substr(second);
  request_.http_1_0 = version == " HTTP/1.0";
  if (!is_token(method) || !(request_.http_1_0 || version == " HTTP/1.1") ||
      line.find('\t') != std::string_view::npos) {
    return refuse("the request line is not 'METHOD target HTTP/1.1'");
  }
  request_.method = to_method(method);
  part_ = Part::kFields;
  return take_target(rest.substr(1, second - 1), method == "CONNECT");
}

/// Takes one of the forms of RFC 9112, 3.2.
bool RequestReader::take_target(std::string_view target, bool is_connect) {
  const auto take_path = [this](std::string_view text) {
    text = text.substr(0, text.find('#'));
    request_.path = text.substr(0, text.find('?'));
    if (request_.path.size() < text.size()) request_.query = text.substr(request_.path.size() + 1);
  };
  if (target.starts_with('/')) {
    take_path(target);
    return true;
  }
  request_.path = "*";  // of no route
  if (target == "*" || (is_connect && parse_authority(target))) return true;
  constexpr std::string_view kSeparator = "://";
  const std::size_t scheme_end = std::min(target.find(kSeparator), target.size());
  const std::string_view scheme = target.substr(0, scheme_end);
  if (scheme.empty() || scheme == target || !std::ranges::all_of(scheme, is_letter)) {
    return refuse("the target is neither a path nor a URL");
  }
  target.remove_prefix(scheme_end + kSeparator.size());
  const std::string_view authority = target.substr(0, target.find_first_of("/?#"));
  if (!parse_authority(authority)) return refuse("the target's host is no name or address");
  target.remove_prefix(authority.size());
  request_.host = authority;  // whatever `Host` says (RFC 9112, 3.2.2)
  if (!authority.empty() && target.starts_with('/')) take_path(target);
  return true;
}

bool RequestReader::take_field(std::string_view line) {
  if (++fields_ > kMaxFields) {
    return refuse(431, "headers_too_large", "more than 100 header fields");
  }
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || !is_token(name)) {
    return refuse("a header line is not 'Name: value'");
  }
  if (part_ == Part::kTrailers) return true;  // they mean nothing here
  return take_known_field(name, trimmed(line.substr(colon + 1)));
}

bool RequestReader::take_known_field(std::string_view name, std::string_view value) {
  if (same_name(name, "host")) return take_host(value);
  if (same_name(name, "content-length")) return take_length(value);
  if (same_name(name, "connection")) {
    take_connection(value);
    return true;
  }
  if (same_name(name, "transfer-encoding")) {
    if (std::exchange(chunked_, true) || !same_name(value, "chunked")) {
      return refuse("a Transfer-Encoding other than chunked");
    }
    return true;
  }
  if (same_name(name, "expect")) {
    expects_continue_ = same_name(value, "100-continue");
    return expects_continue_ || refuse("an unknown Expect");
  }
  struct Known {
    std::string_view name;
    std::optional<std::string> Request::*field;
  };
  constexpr std::array kKnown{
      Known{"x-dflockd-session", &Request::session},
      Known{"authorization", &Request::authorization},
      Known{"origin", &Request::origin},
      Known{"access-control-request-method", &Request::request_method},
  };
  for (const Known& known : kKnown) {
    if (!same_name(name, known.name)) continue;
    std::optional<std::string>& field = request_.*known.field;
    if (field) return refuse("two fields " + std::string(known.name));
    field = value;
  }
  return true;
}

bool RequestReader::take_host(std::string_view value) {
  if (std::exchange(has_host_, true)) return refuse("two Host fields");
  if (!parse_authority(value)) return refuse("Host is no name or address");
  if (!request_.host) request_.host = value;  // or an absolute target has one
  return true;
}

bool RequestReader::take_length(std::string_view value) {
  if (std::exchange(has_length_, true)) return refuse("two lengths");
  if (value.empty() || value.find_first_not_of(kDigits) != std::string_view::npos) {
    return refuse("a Content-Length that is not a number");
  }
  left_ = to_number(value, 10);
  return true;
}

void RequestReader::take_connection(std::string_view options) {
  for (;;) {
    const std::size_t comma = options.find(',');
    const std::string_view option = trimmed(options.substr(0, comma));
    says_close_ |= same_name(option, "close");
    says_keep_alive_ |= same_name(option, "keep-alive");
    if (comma == std::string_view::npos) return;
    options.remove_prefix(comma + 1);
  }
}

/// What must be true of all fields together.
bool RequestReader::end_head() {
  if (!request_.http_1_0 && !has_host_) return refuse("the Host field is missing");
  if (chunked_ && (request_.http_1_0 || has_length_)) {
    return refuse("chunked together with a length or HTTP/1.0");
  }
  if (request_.http_1_0) expects_continue_ = false;  // RFC 9110, 10.1.1
  request_.keep_alive = !says_close_ && (!request_.http_1_0 || says_keep_alive_);
  state_ = State::kHead;
  return true;
}

// --- The body ---

void RequestReader::begin_body(bool keep) {
  keeps_body_ = keep;
  state_ = State::kPartial;
  part_ = chunked_ ? Part::kChunkLine : Part::kBody;
  if (left_ > kMaxBody) {
    refuse_body();
  } else if (!chunked_ && left_ == 0) {
    state_ = State::kComplete;
  }
}

/// Reads what has come of the body or the chunk.
std::size_t RequestReader::read_content(std::string_view unread) {
  const std::string_view content = unread.substr(0, static_cast<std::size_t>(left_));
  if (!content.empty()) expects_continue_ = false;
  if (keeps_body_) request_.body += content;
  left_ -= content.size();
  if (left_ > 0) return content.size();
  if (part_ == Part::kBody) {
    state_ = State::kComplete;
  } else {
    part_ = Part::kChunkEnd;
  }
  return content.size();
}

/// Hex digits, with a semicolon before anything else.
bool RequestReader::take_chunk_line(std::string_view line) {
  const std::size_t digits = std::min(line.find_first_not_of(kHexDigits), line.size());
  const std::string_view extensions = trimmed(line.substr(digits));
  if (digits == 0 || (digits < line.size() && !extensions.starts_with(';'))) {
    return refuse("the size of a chunk is not a hex number");
  }
  left_ = to_number(line.substr(0, digits), 16);
  if (left_ > kMaxBody - body_size_) return refuse_body();
  body_size_ += static_cast<std::size_t>(left_);
  part_ = left_ > 0 ? Part::kChunk : Part::kTrailers;
  return true;
}

std::size_t RequestReader::read_chunk_end(std::string_view unread) {
  if (unread.size() >= kLineEnd.size() && unread.starts_with(kLineEnd)) {
    part_ = Part::kChunkLine;
    return kLineEnd.size();
  }
  if (!kLineEnd.starts_with(unread)) refuse("a chunk does not end with CR and LF");
  return 0;
}

bool RequestReader::take_expectation() {
  const bool in_body = part_ != Part::kRequestLine && part_ != Part::kFields;
  return state_ == State::kPartial && in_body && std::exchange(expects_continue_, false);
}

// --- Refusing ---

bool RequestReader::refuse(std::string_view detail) {
  return refuse(400, "bad_request", detail);
}

bool RequestReader::refuse(int status, std::string_view code, std::string_view detail) {
  state_ = State::kRefused;
  failure_ = {.status = status, .code = code, .detail = std::string(detail)};
  return false;
}

bool RequestReader::refuse_body() {
  return refuse(413, "body_too_large", "the body is over 1 MiB long");
}

}  // namespace dflockd::http
