// Feeds what a server may answer to the client library's reader of answers, line by line, and what
// may be its statistics to the table that dflockctl makes of them.
//
// The last byte says how wide the table's terminal is.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fuzzer/FuzzedDataProvider.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <dflockd/detail/wire.hpp>
#include <dflockd/error.hpp>

#include "check.hpp"
#include "client/failure.hpp"
#include "ctl/commands.hpp"

namespace {

using dflockd::errc;
using dflockd::Grant;
using dflockd::fuzz::check;
using std::chrono::seconds;
namespace wire = dflockd::detail;

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f;
  });
}

// --- A simple reading of the rules ---

bool is_token(const std::string& word) {
  return word.size() == 32 && word.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::optional<seconds> seconds_in(std::string word) {
  if (word.empty() || word.find_first_not_of("0123456789") != std::string::npos) return {};
  word.erase(0, std::min(word.find_first_not_of('0'), word.size() - 1));
  if (word.size() > 10) return {};
  const long long number = std::stoll(word);
  if (number > 9'223'372'036) return {};
  return seconds(number);
}

/// What follows `word` and a space: a token, a space, and seconds.
std::optional<Grant> grant_in(const std::string& line, const std::string& word) {
  if (line.substr(0, word.size() + 1) != word + ' ') return {};
  const std::string rest = line.substr(word.size() + 1);
  const std::string token = rest.substr(0, 32);
  if (!is_token(token) || rest.size() < 34 || rest[32] != ' ') return {};
  const std::optional<seconds> lease = seconds_in(rest.substr(33));
  if (!lease) return {};
  return Grant{.token = token, .lease_ttl = *lease};
}

/// What a refusal says to any request.
errc refusal_in(const std::string& line, errc plain) {
  if (line == "error") return plain;
  if (line == "timeout") return errc::timeout;
  if (line == "error_max_locks") return errc::max_locks;
  if (line == "error_max_waiters") return errc::max_waiters;
  if (line == "error_limit_mismatch") return errc::limit_mismatch;
  if (line == "error_already_enqueued") return errc::already_enqueued;
  if (line == "error_not_enqueued") return errc::not_enqueued;
  if (line == "error_lease_expired") return errc::lease_expired;
  if (line == "error_draining") return errc::draining;
  if (line == "error_auth") return errc::auth;
  return errc::protocol;
}

// --- Answers ---

using ReadGrant = std::error_code (*)(std::string_view, std::optional<Grant>&);

void check_grant(ReadGrant read, const std::string& line, const std::string& word) {
  const std::optional<Grant> expected = grant_in(line, word);
  const bool queued = word == "acquired" && line == "queued";
  std::optional<Grant> grant;
  const std::error_code error = read(line, grant);
  check(grant.has_value() == expected.has_value(), "a grant is read where there is one");
  if (expected) {
    check(!error && grant->token == expected->token && grant->lease_ttl == expected->lease_ttl,
          "a grant is read as it is");
    check(grant->fence() == std::stoull(grant->token.substr(0, 16), nullptr, 16),
          "a fence is the first half of its token");
  } else if (queued) {
    check(!error, "who is queued has no error");
  } else {
    check(error == refusal_in(line, errc::protocol), "a refusal is read as what it says");
  }
}

void check_answer(const std::string& line) {
  check_grant(wire::read_grant, line, "ok");
  check_grant(wire::read_enqueued, line, "acquired");

  const bool says_ok = line.substr(0, 3) == "ok ";
  const auto expected = says_ok ? seconds_in(line.substr(3)) : std::nullopt;
  seconds remaining{-1};
  const std::error_code error = wire::read_remaining(line, remaining);
  check(!error == expected.has_value() && remaining == expected.value_or(seconds(-1)),
        "seconds are read where there are some");
  if (error) check(error == refusal_in(line, errc::not_held), "a renewal is refused as it says");

  const std::error_code released = wire::read_released(line);
  const std::error_code done = wire::read_ok(line);
  check(!released == (line == "ok") && !done == (line == "ok"), "ok is ok and nothing else is");
  if (released) check(released == refusal_in(line, errc::not_held), "a release is refused so");
  if (done) check(done == refusal_in(line, errc::protocol), "anything is refused as it says");

  const std::string shown = dflockd::client::quoted_answer(line);
  check(is_printable(shown), "an answer is shown without control characters");
  const std::optional<Grant> grant = grant_in(line, "ok");
  check(!grant || shown.find(grant->token) == std::string::npos, "a token is not shown");
}

// --- Statistics ---

/// As many columns as the text takes if each of its characters takes one.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

/// Whether no character of UTF-8 is torn.
bool is_whole(std::string_view text) {
  std::size_t missing = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool continues = (byte & 0xc0U) == 0x80U;
    if (continues != (missing > 0)) return false;
    if (continues) {
      --missing;
    } else if (byte >= 0xc0) {
      missing = byte < 0xe0 ? 1 : (byte < 0xf0 ? 2 : 3);
    }
  }
  return missing == 0;
}

void check_table(std::string_view json, std::size_t width) {
  std::vector<std::string> lines;
  try {
    lines = dflockd::ctl::stats_table("server:6388", json, width);
  } catch (const std::runtime_error& error) {
    check(is_printable(error.what()), "what is not understood is told on a line");
    return;
  }
  check(!lines.empty() && lines.size() != 2, "a table has a title, and a head if it has rows");
  for (const std::string& line : lines) {
    check(is_printable(line), "a line of the table is one for any terminal");
    check(is_whole(line), "no character is torn");
    check(line.find("\xc2\x9b") == std::string::npos, "no C1 control character in the table");
  }
  for (std::size_t i = 2; i < lines.size(); ++i) {
    check(width_of(lines[i]) == width_of(lines[1]), "the lines of a table are equally wide");
  }
  if (lines.size() < 2) return;
  const std::vector<std::string> whole = dflockd::ctl::stats_table("server:6388", json, 0);
  check(whole.size() == lines.size(), "a narrow table has as many lines");
  check(width_of(lines[1]) <= width_of(whole[1]), "a narrow table is not wider");
  check(width_of(whole[1]) > width || width == 0 || lines == whole, "what fits is not cut");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const auto width = input.ConsumeIntegralInRange<std::size_t>(0, 255);
  const std::string text = input.ConsumeRemainingBytesAsString();

  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    check_answer(line);
    std::string_view json;
    const std::error_code error = wire::read_stats(line, json);
    check(!error == line.starts_with("ok {"), "statistics are an object");
    if (error) continue;
    check("ok " + std::string(json) == line, "statistics are what follows");
    check_table(json, width);
  }
  check_table(text, width);  // over several lines too
  return 0;
}
