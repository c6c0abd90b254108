#include "protocol/reply.hpp"

#include <array>
#include <charconv>
#include <cstring>

namespace dflockd::protocol {

namespace {

constexpr std::string_view kGrant = "ok ";
constexpr std::string_view kAcquired = "acquired ";

using Line = std::array<char, kLongestReply>;

char* put(char* to, std::string_view text) {
  std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* put_hex(char* to, std::uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = 60; shift >= 0; shift -= 4) *to++ = kDigits[number >> shift & 0xFU];
  return to;
}

char* put_seconds(char* to, Line& line, std::chrono::seconds seconds) {
  return std::to_chars(to, line.data() + line.size(), seconds.count()).ptr;
}

void append_line(std::string& out, const Line& line, char* end) {
  *end++ = '\n';
  out.append(line.data(), static_cast<std::size_t>(end - line.data()));
}

void append_token(std::string& out, std::string_view status, const base::Token& token,
                  std::chrono::seconds lease) {
  Line line;
  char* end = put(line.data(), status);
  end = put_hex(end, token.fence);
  end = put_hex(end, token.salt);
  *end++ = ' ';
  append_line(out, line, put_seconds(end, line, lease));
}

}  // namespace

void append_status(std::string& out, Status status) {
  out.append(text(status));
  out.push_back('\n');
}

void append_grant(std::string& out, const base::Token& token, std::chrono::seconds lease) {
  append_token(out, kGrant, token, lease);
}

void append_acquired(std::string& out, const base::Token& token, std::chrono::seconds lease) {
  append_token(out, kAcquired, token, lease);
}

void append_remaining(std::string& out, std::chrono::seconds remaining) {
  Line line;
  append_line(out, line, put_seconds(put(line.data(), "ok "), line, remaining));
}

std::vector<base::Token> granted_tokens(std::string_view replies) {
  std::vector<base::Token> tokens;
  for (std::size_t end = 0; (end = replies.find('\n')) != std::string_view::npos;
       replies.remove_prefix(end + 1)) {
    const std::string_view line = replies.substr(0, end);
    for (const std::string_view status : {kGrant, kAcquired}) {
      if (!line.starts_with(status)) continue;
      const std::string_view rest =
          line.substr(status.size());  // a token, or the seconds of a renewal
      if (const auto token = base::parse_token(rest.substr(0, rest.find(' '))))
        tokens.push_back(*token);
    }
  }
  return tokens;
}

}  // namespace dflockd::protocol
