#include "protocol/request.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::protocol {
namespace {

using std::chrono::seconds;
using std::string_literals::operator""s;

const std::string kToken = "18a4f0c2b7d9e1f33a0c5d7e9b1f2a4c";

Verb verb_of(const Lines& lines) {
  return parse(lines).verb;
}

/// The commands that have a key, each with an argument that is allowed.
struct Valid {
  std::string command;
  std::string argument;
};
const std::vector<Valid> kValid = {
    {"l", "10"},
    {"l", "10 30"},
    {"r", kToken},
    {"n", kToken},
    {"n", kToken + " 60"},
    {"e", ""},
    {"e", "30"},
    {"w", "10"},
    {"sl", "10 3"},
    {"sl", "10 3 30"},
    {"sr", kToken},
    {"sn", kToken},
    {"sn", kToken + " 60"},
    {"se", "3"},
    {"se", "3 30"},
    {"sw", "10"},
};

TEST(request, unknown_commands_are_invalid) {
  for (const std::string& command : {""s, "L"s, "x"s, "s"s, "sx"s, "ls"s, "lock"s, "l "s, " l"s,
                                     "sll"s, "Ping"s, "pin"s, "pings"s, "\0"s, "stat"s, "AUTH"s}) {
    EXPECT_EQ(verb_of({command, "key", "10"}), Verb::kInvalid) << command;
  }
}

TEST(request, keys_that_are_not_allowed_are_invalid_for_every_command_that_has_a_key) {
  for (const Valid& valid : kValid) {
    for (const std::string& key : {""s, " "s, "a b"s, "a\tb"s, "a\rb"s, std::string(257, 'k')}) {
      EXPECT_EQ(verb_of({valid.command, key, valid.argument}), Verb::kInvalid) << key;
    }
  }
}

TEST(request, keys_may_hold_any_other_byte_up_to_256) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    if (" \t\r\n"s.find(character) == std::string::npos) all.push_back(character);
  }
  for (const std::string& key : {all, std::string(256, 'k'), "\xff\xfe"s, "k\0k"s}) {
    const Request request = parse({"l", key, "10"});
    EXPECT_EQ(request.verb, Verb::kAcquire);
    EXPECT_EQ(request.key.name, key);
  }
}

TEST(request, wrong_numbers_of_arguments_are_invalid) {
  const std::vector<Valid> wrong = {
      {"l", ""},    {"l", "1 2 3"},
      {"r", ""},    {"r", kToken + " 1"},
      {"n", ""},    {"n", kToken + " 1 2"},
      {"e", "1 2"}, {"w", ""},
      {"w", "1 2"}, {"sl", ""},
      {"sl", "1"},  {"sl", "1 2 3 4"},
      {"sr", ""},   {"sn", ""},
      {"se", ""},   {"se", "1 2 3"},
      {"sw", ""},   {"sw", "1 2"},
  };
  for (const Valid& line : wrong) {
    EXPECT_EQ(verb_of({line.command, "key", line.argument}), Verb::kInvalid)
        << line.command << " " << line.argument;
  }
}

TEST(request, numbers_that_do_not_parse_or_are_out_of_range_are_invalid) {
  const std::vector<std::string> never = {"+5",
                                          "-1",
                                          "-0",
                                          "1.5",
                                          "0x1",
                                          "1e3",
                                          "ten",
                                          "1_0",
                                          "5s",
                                          "９",
                                          "9223372037",
                                          "18446744073709551616",
                                          "99999999999999999999",
                                          "5\0"s};
  for (const std::string& number : never) {
    for (const std::string& command : {"l"s, "e"s, "w"s, "sw"s}) {
      EXPECT_EQ(verb_of({command, "key", number}), Verb::kInvalid) << command << number;
    }
    EXPECT_EQ(verb_of({"l", "key", "1 " + number}), Verb::kInvalid) << number;
    EXPECT_EQ(verb_of({"n", "key", kToken + " " + number}), Verb::kInvalid) << number;
    EXPECT_EQ(verb_of({"sl", "key", "1 " + number}), Verb::kInvalid) << number;
    EXPECT_EQ(verb_of({"se", "key", "1 " + number}), Verb::kInvalid) << number;
  }
}

TEST(request, leases_of_zero_are_invalid) {
  for (const Valid& zero : std::vector<Valid>{
           {"l", "1 0"}, {"n", kToken + " 0"}, {"e", "0"}, {"sl", "1 1 0"}, {"se", "1 0"}}) {
    EXPECT_EQ(verb_of({zero.command, "key", zero.argument}), Verb::kInvalid);
  }
}

TEST(request, limits_are_from_1_to_1048576) {
  EXPECT_EQ(verb_of({"sl", "key", "1 0"}), Verb::kInvalid);
  EXPECT_EQ(verb_of({"sl", "key", "1 1048577"}), Verb::kInvalid);
  EXPECT_EQ(parse({"sl", "key", "1 1"}).limit, 1U);
  EXPECT_EQ(parse({"se", "key", "1048576"}).limit, 1'048'576U);
}

TEST(request, tokens_are_32_lowercase_hex_characters) {
  const std::string upper = "18A4F0C2B7D9E1F33A0C5D7E9B1F2A4C";
  for (const std::string& token : {kToken.substr(1), kToken + "0", upper, "g"s + kToken.substr(1),
                                   "0x"s + kToken.substr(2), kToken.substr(1) + "-"}) {
    EXPECT_EQ(verb_of({"r", "key", token}), Verb::kInvalid) << token;
    EXPECT_EQ(verb_of({"sn", "key", token}), Verb::kInvalid) << token;
  }
  const Request request = parse({"r", "key", kToken});
  EXPECT_EQ(request.token.fence, 0x18a4f0c2b7d9e1f3U);
  EXPECT_EQ(request.token.salt, 0x3a0c5d7e9b1f2a4cU);
}

TEST(request, tokens_hold_no_byte_that_is_not_a_lowercase_hex_digit) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool allowed = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
    for (const std::size_t at : {0UL, 15UL, 16UL, 31UL}) {
      std::string token = kToken;
      token[at] = static_cast<char>(byte);
      EXPECT_EQ(verb_of({"r", "key", token}), allowed ? Verb::kRelease : Verb::kInvalid) << token;
    }
  }
}

TEST(request, every_command_parses) {
  const std::vector<std::pair<std::string, Verb>> verbs = {
      {"l", Verb::kAcquire}, {"r", Verb::kRelease}, {"n", Verb::kRenew},
      {"e", Verb::kEnqueue}, {"w", Verb::kWait},
  };
  for (const Valid& valid : kValid) {
    const Request request = parse({valid.command, "key", valid.argument});
    const bool is_semaphore = valid.command.size() == 2;
    EXPECT_EQ(request.key.kind, is_semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock);
    EXPECT_EQ(request.key.name, "key");
    for (const auto& [letter, verb] : verbs) {
      if (valid.command.back() == letter[0]) {
        EXPECT_EQ(request.verb, verb) << valid.command << " " << valid.argument;
      }
    }
  }
}

TEST(request, arguments_are_read_in_their_order) {
  const Request acquire = parse({"sl", "key", "10 3 30"});
  EXPECT_EQ(acquire.timeout, seconds(10));
  EXPECT_EQ(acquire.limit, 3U);
  EXPECT_EQ(acquire.lease, seconds(30));
  const Request enqueue = parse({"se", "key", "4 40"});
  EXPECT_EQ(enqueue.limit, 4U);
  EXPECT_EQ(enqueue.lease, seconds(40));
  EXPECT_EQ(parse({"n", "key", kToken + " 60"}).lease, seconds(60));
  EXPECT_EQ(parse({"w", "key", "7"}).timeout, seconds(7));
}

TEST(request, lease_that_is_left_out_is_the_default_one) {
  EXPECT_EQ(parse({"l", "key", "10"}).lease, kDefaultLease);
  EXPECT_EQ(parse({"e", "key", ""}).lease, kDefaultLease);
  EXPECT_EQ(parse({"n", "key", kToken}).lease, kDefaultLease);
}

TEST(request, bounds_of_times_are_allowed) {
  const Request request = parse({"l", "key", "0 9223372036"});
  EXPECT_EQ(request.verb, Verb::kAcquire);
  EXPECT_EQ(request.timeout, seconds(0));
  EXPECT_EQ(request.lease, base::kMaxSeconds);
  EXPECT_EQ(parse({"l", "key", "9223372036 1"}).timeout, base::kMaxSeconds);
}

TEST(request, blanks_around_arguments_do_not_matter) {
  const Request request = parse({"sl", "key", "  10\t3   30 "});
  EXPECT_EQ(request.verb, Verb::kAcquire);
  EXPECT_EQ(request.lease, seconds(30));
  EXPECT_EQ(verb_of({"e", "key", "  "}), Verb::kEnqueue);
}

TEST(request, ping_stats_and_auth_ignore_the_key) {
  for (const std::string& key : {""s, "_"s, "a b"s}) {
    EXPECT_EQ(verb_of({"ping", key, "any thing"}), Verb::kPing);
    EXPECT_EQ(verb_of({"stats", key, ""}), Verb::kStats);
    EXPECT_EQ(parse({"auth", key, " se cret "}).text, " se cret ");
  }
}

TEST(request, shared_is_said_of_an_acquire_and_an_enqueue_of_a_lock) {
  for (const std::string& command : {"rl"s, "re"s}) {
    const Request request = parse({command, "key", command == "rl" ? "5 20" : "20"});
    EXPECT_EQ(request.verb, command == "rl" ? Verb::kAcquire : Verb::kEnqueue);
    EXPECT_TRUE(request.shared);
    EXPECT_EQ(request.key.kind, locks::Kind::kLock);
    EXPECT_EQ(request.lease, seconds(20));
  }
  EXPECT_FALSE(parse({"l", "key", "5"}).shared);
  for (const std::string& command : {"rr"s, "rn"s, "rw"s, "rs"s, "rsl"s, "srl"s}) {
    EXPECT_EQ(verb_of({command, "key", "5"}), Verb::kInvalid) << command;
  }
  EXPECT_EQ(verb_of({"rl", "key", ""}), Verb::kInvalid);
  EXPECT_EQ(verb_of({"rl", "key", "5 20 1"}), Verb::kInvalid);
}

TEST(request, stable_ref_is_1_to_64_printable_bytes_of_ascii) {
  for (const std::string& ref : {"x"s, " "s, "a b~"s, std::string(64, 'r')}) {
    const Request request = parse({"stable-ref", ref, "any thing"});
    EXPECT_EQ(request.verb, Verb::kStableRef) << ref;
    EXPECT_EQ(request.text, ref);
  }
  for (const std::string& ref :
       {""s, std::string(65, 'r'), "\t"s, "a\x7f"s, "\xc3\xa9"s, "a\0b"s}) {
    EXPECT_EQ(verb_of({"stable-ref", ref, ""}), Verb::kInvalid) << ref;
  }
}

TEST(request, name_is_1_to_128_bytes_of_utf8_without_control_characters) {
  for (const std::string& name :
       {"x"s, "deploy of the shop"s, "\xc3\xa9t\xc3\xa9"s, std::string(128, 'n')}) {
    const Request request = parse({"name", name, "any thing"});
    EXPECT_EQ(request.verb, Verb::kName) << name;
    EXPECT_EQ(request.text, name);
  }
  for (const std::string& name : {""s, std::string(129, 'n'), "a\tb"s, "\x1b[2J"s, "\xff"s,
                                  "\xc2\x85"s, "\xed\xa0\x80"s, "a\0b"s}) {
    EXPECT_EQ(verb_of({"name", name, ""}), Verb::kInvalid) << name;
  }
}

TEST(request, stat_says_which_kind) {
  EXPECT_EQ(parse({"stat", "key", "lock"}).key, (locks::Key{locks::Kind::kLock, "key"}));
  EXPECT_EQ(parse({"stat", "key", " semaphore "}).key,
            (locks::Key{locks::Kind::kSemaphore, "key"}));
  for (const std::string& kind : {""s, "locks"s, "Lock"s, "lock semaphore"s, "_"s}) {
    EXPECT_EQ(verb_of({"stat", "key", kind}), Verb::kInvalid) << kind;
  }
  EXPECT_EQ(verb_of({"stat", "", "lock"}), Verb::kInvalid);
  EXPECT_EQ(verb_of({"stat", "a b", "lock"}), Verb::kInvalid);
}

TEST(request, barrier_ignores_key_and_argument) {
  EXPECT_EQ(verb_of({"barrier", "", ""}), Verb::kBarrier);
  EXPECT_EQ(verb_of({"barrier", "a b", "any thing"}), Verb::kBarrier);
}

}  // namespace
}  // namespace dflockd::protocol
