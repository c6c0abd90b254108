#include "http/request_reader.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "http/authority.hpp"

namespace dflockd::http {

namespace {

/// The longest line of a chunk's size with its extensions.
constexpr std::size_t kMaxChunkLine = 256;

/// The longest number that is read: any longer one is over every limit, in whatever base.
constexpr std::size_t kMostDigits = 12;

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_token_character(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return is_alphanumeric(c) || kOthers.find(c) != std::string_view::npos;
}

/// Bytes that must not stand in a line: all control characters but the tab.
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

/// Whether a line feed at `from` or behind it does not follow a carriage return.
bool has_bare_line_feed(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find('\n', from); at != std::string_view::npos;
       at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return true;
  }
  return false;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_character);
}

/// A method, a target and a version. The parser would take more than one space between them, tabs
/// in the target, and versions such as "Http/1.1" and "ICE/1.0".
bool is_request_line(std::string_view line) {
  return std::ranges::count(line, ' ') == 2 && line.find('\t') == std::string_view::npos &&
         is_token(line.substr(0, line.find(' '))) &&
         (line.ends_with(" HTTP/1.1") || line.ends_with(" HTTP/1.0"));
}

std::string_view trimmed(std::string_view text) {
  const std::size_t start = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(start, text.find_last_not_of(" \t") + 1 - start);
}

/// Whether a number has more digits than fit any size that is allowed, leading zeros not counted.
bool is_huge(std::string_view digits) {
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits.size() > kMostDigits;
}

/// Hex digits, with a semicolon before anything else. The parser would skip what follows a space.
bool is_chunk_line(std::string_view line) {
  const std::size_t end = line.find_first_not_of(kHexDigits);
  if (end == 0 || line.empty()) return false;
  return end == std::string_view::npos || trimmed(line.substr(end)).starts_with(';');
}

/// The authority of an absolute target, "http://locks.example:6389/health"; nothing of any other.
std::optional<std::string_view> authority_of(std::string_view target) {
  constexpr std::string_view kSeparator = "://";
  const std::size_t scheme_end = target.find(kSeparator);
  if (target.starts_with('/') || scheme_end == std::string_view::npos) return std::nullopt;
  const std::string_view rest = target.substr(scheme_end + kSeparator.size());
  return rest.substr(0, rest.find_first_of("/?#"));
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

Method to_method(std::string_view name) {
  for (const Method method :
       {Method::kGet, Method::kHead, Method::kPost, Method::kDelete, Method::kOptions}) {
    if (name == text(method)) return method;
  }
  return Method::kOther;
}

RequestReader& reader_of(http_parser* parser) {
  return *static_cast<RequestReader*>(parser->data);
}

}  // namespace

RequestReader::RequestReader() {
  http_parser_init(&parser_, HTTP_REQUEST);
  parser_.data = this;
}

std::size_t RequestReader::read(std::string_view unread) {
  std::size_t consumed = 0;
  while (state_ == State::kIdle || state_ == State::kPartial) {
    const std::string_view rest = unread.substr(consumed);
    if (rest.empty() && part_ != Part::kHead) break;
    std::size_t size = 0;
    switch (part_) {
      case Part::kHead:
        size = read_head(rest);
        break;
      case Part::kBody:
      case Part::kChunk:
        size = read_body(rest);
        break;
      case Part::kChunkLine:
      case Part::kTrailers:
        size = read_line(rest);
        break;
    }
    consumed += size;
    if (whole_ && state_ != State::kRefused) state_ = State::kComplete;
    if (size == 0) break;
  }
  return consumed;
}

std::size_t RequestReader::read_head(std::string_view unread) {
  // Empty lines in front of a request line are to be ignored (RFC 9112, 2.2).
  if (looked_at_ == 0 && unread.starts_with(kLineEnd)) return kLineEnd.size();
  if (looked_at_ == 0 && kLineEnd.starts_with(unread)) return 0;  // half of one, or nothing
  state_ = State::kPartial;

  const std::size_t from = looked_at_ > kHeadEnd.size() ? looked_at_ - kHeadEnd.size() : 0;
  const std::size_t end = unread.find(kHeadEnd, from);
  const std::size_t size = end == std::string_view::npos ? unread.size() : end + kHeadEnd.size();
  // A client that ends its lines otherwise would wait for ever for the end of its head. Comes
  // first: what is refused, and how, must not depend on how the bytes arrive.
  if (has_bare_line_feed(unread.substr(0, std::min(size, kMaxHead + 1)), looked_at_)) {
    refuse(400, "bad_request", "a line does not end with CR and LF");
    return 0;
  }
  if (size > kMaxHead) {
    refuse(431, "headers_too_large", "the head is over 64 KiB long");
    return 0;
  }
  if (end == std::string_view::npos) {
    looked_at_ = unread.size();
    return 0;
  }
  looked_at_ = 0;
  head_size_ = size;
  const std::string_view head = unread.substr(0, size);
  if (!check_head(head) || !feed_head(head) || !check_target() || whole_) return size;
  start_body();
  return size;
}

/// Looks at every line of a head that ends with an empty one.
bool RequestReader::check_head(std::string_view head) {
  bool first = true;
  for (std::size_t start = 0; start + kLineEnd.size() < head.size();) {
    const std::size_t end = head.find(kLineEnd, start);
    const std::string_view line = head.substr(start, end - start);
    if (std::ranges::any_of(line, is_control)) {
      return refuse(400, "bad_request", "a control character in the head");
    }
    if (first && !is_request_line(line)) {
      return refuse(400, "bad_request", "the request line is not 'METHOD target HTTP/1.1'");
    }
    if (!first && !take_field(line)) return false;
    if (first) {
      request_.method = to_method(line.substr(0, line.find(' ')));
      request_.http_1_0 = line.ends_with(" HTTP/1.0");
    }
    first = false;
    start = end + kLineEnd.size();
  }
  return check_fields();
}

/// What must be true of all fields together.
bool RequestReader::check_fields() {
  if (!request_.http_1_0 && hosts_ == 0) {
    return refuse(400, "bad_request", "the Host field is missing");
  }
  if (chunked_ && (request_.http_1_0 || has_length_)) {
    return refuse(400, "bad_request", "chunked together with a length or HTTP/1.0");
  }
  if (has_huge_length_) return refuse_body();  // the parser would call the number malformed
  return true;
}

/// The parser takes only the methods that it knows. They all have their bodies alike, so it gets
/// one that it knows in place of another; but after CONNECT comes a target of its own form.
bool RequestReader::feed_head(std::string_view head) {
  const std::string_view method = head.substr(0, head.find(' '));
  if (request_.method != Method::kOther || method == http_method_str(HTTP_CONNECT)) {
    return feed(head);
  }
  return feed(http_method_str(HTTP_POST)) && feed(head.substr(method.size()));
}

/// An absolute target tells itself whom the request is for, whatever `Host` says (RFC 9112, 3.2.2).
bool RequestReader::check_target() {
  const std::optional<std::string_view> authority = authority_of(url_);
  if (!authority) return true;
  if (!parse_authority(*authority)) {
    return refuse(400, "bad_request", "the target's host is no name or address");
  }
  request_.host = *authority;
  return true;
}

bool RequestReader::take_field(std::string_view line) {
  if (++fields_ > kMaxFields) {
    return refuse(431, "headers_too_large", "more than 100 header fields");
  }
  const std::size_t colon = line.find(':');
  const std::string name = lower(line.substr(0, colon));
  if (colon == std::string_view::npos || !is_token(name)) {
    return refuse(400, "bad_request", "a header line is not 'Name: value'");
  }
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (part_ == Part::kTrailers) return true;  // known to nobody

  if (name == "host") {
    if (++hosts_ > 1) return refuse(400, "bad_request", "two Host fields");
    if (!parse_authority(value)) return refuse(400, "bad_request", "Host is no name or address");
    request_.host = value;
  } else if (name == "content-length") {
    if (std::exchange(has_length_, true)) return refuse(400, "bad_request", "two lengths");
    if (value.empty() || value.find_first_not_of(kDigits) != std::string_view::npos) {
      return refuse(400, "bad_request", "a Content-Length that is not a number");
    }
    has_huge_length_ = is_huge(value);
  } else if (name == "transfer-encoding") {
    if (chunked_ || lower(value) != "chunked") {
      return refuse(400, "bad_request", "a Transfer-Encoding other than chunked");
    }
    chunked_ = true;
  } else if (name == "expect") {
    if (lower(value) != "100-continue") return refuse(400, "bad_request", "an unknown Expect");
    expects_continue_ = true;
  } else {
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
      if (name != known.name) continue;
      std::optional<std::string>& field = request_.*known.field;
      if (field) return refuse(400, "bad_request", "two fields " + std::string(known.name));
      field = value;
    }
  }
  return true;
}

/// What follows a head that the parser has taken.
bool RequestReader::start_body() {
  if (chunked_) {
    part_ = Part::kChunkLine;
    return true;
  }
  if (parser_.content_length > kMaxBody) return refuse_body();
  part_ = Part::kBody;
  return true;
}

std::size_t RequestReader::read_body(std::string_view unread) {
  if (part_ == Part::kBody) {
    // The parser stops at the end of the request.
    const auto left = static_cast<std::size_t>(parser_.content_length);
    const std::string_view bytes = unread.substr(0, left);
    feed(bytes);
    return bytes.size();
  }
  const std::string_view bytes = unread.substr(0, chunk_left_);
  for (std::size_t i = 0; i < kLineEnd.size(); ++i) {  // the parser does not look
    const std::size_t at = chunk_left_ + i - kLineEnd.size();
    if (at < bytes.size() && bytes[at] != kLineEnd[i]) {
      refuse(400, "bad_request", "a chunk does not end with CR and LF");
      return bytes.size();
    }
  }
  chunk_left_ -= bytes.size();
  if (feed(bytes) && chunk_left_ == 0) part_ = Part::kChunkLine;
  return bytes.size();
}

/// Reads the line of a chunk's size, or one of the trailers.
std::size_t RequestReader::read_line(std::string_view unread) {
  const std::size_t end = unread.find('\n', looked_at_);
  const std::size_t size = end == std::string_view::npos ? unread.size() : end + 1;
  if (part_ == Part::kChunkLine && size > kMaxChunkLine) {
    refuse(400, "bad_request", "the line of a chunk's size is over 256 bytes long");
    return 0;
  }
  const bool is_last = kLineEnd.starts_with(unread.substr(0, size));  // or may become it
  if (part_ == Part::kTrailers && !is_last && head_size_ + size > kMaxHead) {
    refuse(431, "headers_too_large", "the head is over 64 KiB long");
    return 0;
  }
  if (end == std::string_view::npos) {
    looked_at_ = unread.size();
    return 0;
  }
  looked_at_ = 0;
  if (end == 0 || unread[end - 1] != '\r') {
    refuse(400, "bad_request", "a line does not end with CR and LF");
    return size;
  }
  const std::string_view line = unread.substr(0, end - 1);
  if (std::ranges::any_of(line, is_control)) {
    refuse(400, "bad_request", "a control character in the chunked coding");
    return size;
  }
  if (part_ == Part::kChunkLine && !is_chunk_line(line)) {
    refuse(400, "bad_request", "the size of a chunk is not a hex number");
    return size;
  }
  if (part_ == Part::kChunkLine && is_huge(line.substr(0, line.find_first_not_of(kHexDigits)))) {
    refuse_body();
    return size;
  }
  if (part_ == Part::kTrailers && !is_last) {
    head_size_ += size;
    if (!take_field(line)) return size;
  }
  feed(unread.substr(0, size));
  return size;
}

bool RequestReader::feed(std::string_view bytes) {
  static const http_parser_settings kSettings = [] {
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_url = &RequestReader::on_url;
    settings.on_headers_complete = &RequestReader::on_headers_complete;
    settings.on_body = &RequestReader::on_body;
    settings.on_chunk_header = &RequestReader::on_chunk_header;
    settings.on_message_complete = &RequestReader::on_message_complete;
    return settings;
  }();
  const std::size_t fed = http_parser_execute(&parser_, &kSettings, bytes.data(), bytes.size());
  if (state_ == State::kRefused) return false;
  if (HTTP_PARSER_ERRNO(&parser_) != HPE_OK || fed != bytes.size()) {
    return refuse(400, "bad_request", http_errno_description(HTTP_PARSER_ERRNO(&parser_)));
  }
  return true;
}

bool RequestReader::refuse(int status, std::string_view code, std::string_view detail) {
  state_ = State::kRefused;
  failure_ = {.status = status, .code = code, .detail = std::string(detail)};
  return false;
}

bool RequestReader::refuse_body() {
  return refuse(413, "body_too_large", "the body is over 1 MiB long");
}

bool RequestReader::take_expectation() {
  const bool waits = state_ == State::kPartial && part_ != Part::kHead && request_.body.empty();
  return waits && !request_.http_1_0 && std::exchange(expects_continue_, false);
}

void RequestReader::next() {
  http_parser_init(&parser_, HTTP_REQUEST);
  state_ = State::kIdle;
  part_ = Part::kHead;
  looked_at_ = head_size_ = fields_ = chunk_left_ = hosts_ = 0;
  chunked_ = has_length_ = has_huge_length_ = expects_continue_ = whole_ = false;
  url_.clear();
  request_ = {};
}

int RequestReader::on_url(http_parser* parser, const char* at, std::size_t size) {
  reader_of(parser).url_.append(at, size);
  return 0;
}

int RequestReader::on_headers_complete(http_parser* parser) {
  RequestReader& self = reader_of(parser);
  parser->upgrade = 0;  // to no other protocol: the request is answered as it is
  self.request_.keep_alive = http_should_keep_alive(parser) != 0;
  http_parser_url parts;
  http_parser_url_init(&parts);
  const bool is_connect = parser->method == HTTP_CONNECT;
  if (http_parser_parse_url(self.url_.data(), self.url_.size(), is_connect ? 1 : 0, &parts) == 0 &&
      (parts.field_set & (1U << UF_PATH)) != 0) {
    const auto& field = parts.field_data[UF_PATH];
    self.request_.path = self.url_.substr(field.off, field.len);
  } else {
    self.request_.path = "*";  // of no route
  }
  return 0;
}

int RequestReader::on_body(http_parser* parser, const char* at, std::size_t size) {
  reader_of(parser).request_.body.append(at, size);
  return 0;
}

int RequestReader::on_chunk_header(http_parser* parser) {
  RequestReader& self = reader_of(parser);
  const std::uint64_t size = parser->content_length;
  if (size > kMaxBody - self.request_.body.size()) {
    self.refuse_body();
    return -1;
  }
  self.chunk_left_ = static_cast<std::size_t>(size) + kLineEnd.size();
  self.part_ = size == 0 ? Part::kTrailers : Part::kChunk;
  return 0;
}

int RequestReader::on_message_complete(http_parser* parser) {
  reader_of(parser).whole_ = true;
  return 0;
}

}  // namespace dflockd::http
