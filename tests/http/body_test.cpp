#include "http/body.hpp"

#include <chrono>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::http {
namespace {

using namespace std::string_literals;

std::variant<Body, Failure> parse_all(std::string_view text) {
  return parse_body(text, {"acquire_timeout_s", "timeout_s", "lease_ttl_s", "limit", "shared",
                           "token", "stable_ref", "name"});
}

/// Why `text` is refused; "" if it is not.
std::string refusal(std::string_view text) {
  const auto result = parse_all(text);
  const auto* const failure = std::get_if<Failure>(&result);
  if (failure == nullptr) return "";
  EXPECT_EQ(failure->status, 400);
  EXPECT_EQ(failure->code, "bad_request");
  return failure->detail;
}

void expect_refused(const std::string& text) {
  EXPECT_NE(refusal(text), "") << testing::PrintToString(text);
}

Body parsed(std::string_view text) {
  auto result = parse_all(text);
  EXPECT_TRUE(std::holds_alternative<Body>(result)) << text;
  return std::holds_alternative<Body>(result) ? std::get<Body>(result) : Body();
}

const std::vector<std::string> kNumbers = {"acquire_timeout_s", "timeout_s", "lease_ttl_s",
                                           "limit"};

TEST(body, text_that_is_no_json_is_refused) {
  for (const std::string& text : {""s,
                                  " "s,
                                  "\r\n"s,
                                  "{"s,
                                  "}"s,
                                  "{]"s,
                                  "{\"limit\"}"s,
                                  "{\"limit\":}"s,
                                  "{\"limit\":1,}"s,
                                  "{,}"s,
                                  "{limit:1}"s,
                                  "{'limit':1}"s,
                                  "{\"limit\":1 \"token\":\"a\"}"s,
                                  "{\"limit\"=1}"s,
                                  "{\"limit\":01}"s,
                                  "{\"limit\":+1}"s,
                                  "{\"limit\":.1}"s,
                                  "{\"limit\":1.}"s,
                                  "{\"limit\":0x1}"s,
                                  "{\"limit\":1_0}"s,
                                  "{\"limit\":NaN}"s,
                                  "{\"limit\":Infinity}"s,
                                  "{\"limit\":1"s,
                                  "{\"token\":\"a}"s,
                                  "{\"token\":\"\\x\"}"s,
                                  "{\"token\":\"a\nb\"}"s,
                                  "{\"token\":\"a\0b\"}"s,
                                  "/**/{}"s,
                                  "{}//"s,
                                  "limit=1"s,
                                  "\xef\xbb"s,
                                  "\xff\xfe{}"s}) {
    expect_refused(text);
  }
}

TEST(body, values_other_than_an_object_are_refused) {
  for (const std::string& text :
       {"null"s, "true"s, "1"s, "-1"s, "1.5"s, "1e999"s, "\"a\""s, "[]"s, "[{}]"s, "[1]"s}) {
    expect_refused(text);
  }
  EXPECT_EQ(refusal("[]"), "the body is not a JSON object");
}

TEST(body, anything_behind_the_object_is_refused) {
  for (const std::string& more :
       {"x"s, "{}"s, ","s, "}"s, "null"s, "\0"s, "\0{}"s, " \0x"s, "\n1"s}) {
    expect_refused("{}" + more);
    expect_refused("{\"limit\":1}" + more);
  }
}

TEST(body, null_bytes_are_refused_anywhere) {
  const std::string text = R"({"limit":1,"token":"a"})";
  for (std::size_t at = 0; at <= text.size(); ++at) {
    expect_refused(text.substr(0, at) + '\0' + text.substr(at));
  }
}

TEST(body, numbers_must_be_integers_from_0) {
  for (const std::string& name : kNumbers) {
    for (const std::string& value :
         {"1.0"s, "1.5"s, "1e3"s, "1E3"s, "0.0"s, "-1"s, "-0"s, "-9223372036854775808"s,
          "18446744073709551616"s, "99999999999999999999999999"s, "1e999"s, "-1e999"s, "true"s,
          "\"1\""s, "\"\""s, "[]"s, "[1]"s, "{}"s, std::string(10'000, '9')}) {
      const std::string why = refusal("{\"" + name + "\":" + value + "}");
      EXPECT_NE(why, "") << name << ' ' << value;
    }
    EXPECT_EQ(refusal("{\"" + name + "\":1.0}"), name + ": expected an integer from 0");
  }
}

TEST(body, texts_must_be_strings) {
  for (const std::string& name : {"token"s, "stable_ref"s, "name"s}) {
    for (const std::string& value :
         {"1"s, "0"s, "-1"s, "1.5"s, "false"s, "[]"s, "[\"a\"]"s, "{}"s}) {
      EXPECT_EQ(refusal("{\"" + name + "\":" + value + "}"), name + ": expected a string") << value;
    }
  }
}

TEST(body, shared_must_be_true_or_false) {
  for (const std::string& value :
       {"0"s, "1"s, "-1"s, "1.5"s, "\"true\""s, "[]"s, "[true]"s, "{}"s}) {
    EXPECT_EQ(refusal("{\"shared\":" + value + "}"), "shared: expected true or false") << value;
  }
}

TEST(body, unknown_fields_are_refused_by_their_name) {
  EXPECT_EQ(refusal(R"({"lease":1})"), R"(unknown field "lease")");
  EXPECT_EQ(refusal(R"({"limit":1,"x":null})"), R"(unknown field "x")");
  EXPECT_EQ(refusal(R"({"a\"b\n":1})"), R"(unknown field "a\"b\n")");
  for (const std::string& name : {""s, "Limit"s, "limit "s, "limits"s, "limi"s, "limit\\u0000"s}) {
    expect_refused("{\"" + name + "\":1}");
  }
}

TEST(body, fields_that_are_not_allowed_here_are_unknown) {
  for (const std::string& text : {R"({"limit":1})"s, R"({"token":"a"})"s, R"({"timeout_s":1})"s}) {
    EXPECT_TRUE(std::holds_alternative<Failure>(parse_body(text, {"lease_ttl_s"}))) << text;
    EXPECT_TRUE(std::holds_alternative<Failure>(parse_body(text, {}))) << text;
  }
  EXPECT_TRUE(std::holds_alternative<Body>(parse_body("{}", {})));
}

TEST(body, fields_may_not_come_twice) {
  for (const std::string& name : kNumbers) {
    EXPECT_EQ(refusal("{\"" + name + "\":1,\"" + name + "\":1}"), name + ": given twice");
  }
  EXPECT_EQ(refusal(R"({"token":"a","limit":1,"token":"a"})"), "token: given twice");
  EXPECT_EQ(refusal(R"({"limit":0,"lim\u0069t":0})"), "limit: given twice");
  EXPECT_EQ(refusal(R"({"limit":null,"limit":1})"), "limit: given twice");
  EXPECT_EQ(refusal(R"({"token":"a","token":null})"), "token: given twice");
}

TEST(body, text_that_is_no_utf_8_is_refused) {
  for (const std::string& bytes :
       {"\xff"s, "\x80"s, "\xc3"s, "\xc0\xaf"s, "\xed\xa0\x80"s, "\xf4\x90\x80\x80"s, "\xe2\x82"s,
        "\\ud800"s, "\\udc00"s, "\\ud800\\u0041"s}) {
    expect_refused("{\"token\":\"" + bytes + "\"}");
    expect_refused("{\"" + bytes + "\":1}");
  }
}

// A parser that descends would run out of stack, and one that keeps a state would take long.
TEST(body, deep_nesting_is_refused_at_once) {
  const auto repeated = [](std::string_view text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
  };
  constexpr int kDepth = 100'000;
  const auto start = std::chrono::steady_clock::now();
  expect_refused(repeated("[", kDepth));
  expect_refused(repeated("{\"token\":", kDepth));
  expect_refused("{\"token\":" + repeated("[", kDepth));
  expect_refused("{\"limit\":" + repeated("[", kDepth) + repeated("]", kDepth) + "}");
  expect_refused("{\"x\":" + repeated("{\"x\":", kDepth) + repeated("}", kDepth) + "}");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(body, every_field_is_read) {
  const Body body = parsed(
      R"({"acquire_timeout_s":1,"timeout_s":2,"lease_ttl_s":3,"limit":4,"token":"a\u00e9\n",)"
      R"("shared":true,"stable_ref":"b","name":"c"})");
  EXPECT_EQ(body.acquire_timeout_s, 1U);
  EXPECT_EQ(body.timeout_s, 2U);
  EXPECT_EQ(body.lease_ttl_s, 3U);
  EXPECT_EQ(body.limit, 4U);
  EXPECT_EQ(body.token, "a\xc3\xa9\n");
  EXPECT_EQ(body.shared, true);
  EXPECT_EQ(body.stable_ref, "b");
  EXPECT_EQ(body.name, "c");
  EXPECT_EQ(parsed(R"({"shared":false})").shared, false);
}

TEST(body, fields_that_are_not_given_are_not_there) {
  for (const std::string& text : {"{}"s, " { } "s, "\r\n\t{}\r\n"s}) {
    const Body body = parsed(text);
    EXPECT_FALSE(body.acquire_timeout_s || body.timeout_s || body.lease_ttl_s || body.limit ||
                 body.token || body.shared || body.stable_ref || body.name)
        << text;
  }
}

TEST(body, fields_that_are_null_are_not_there) {
  const Body body = parsed(
      R"({"acquire_timeout_s":null,"timeout_s":null,"lease_ttl_s": null ,"limit":null,"token":null,)"
      R"("shared":null,"stable_ref":null,"name":null})");
  EXPECT_FALSE(body.acquire_timeout_s || body.timeout_s || body.lease_ttl_s || body.limit ||
               body.token || body.shared || body.stable_ref || body.name);
  EXPECT_EQ(parsed(R"({"token":null,"limit":4})").limit, 4U);
}

TEST(body, numbers_have_64_bits) {
  EXPECT_EQ(parsed(R"({"limit":0})").limit, 0U);
  EXPECT_EQ(parsed(R"({"limit":18446744073709551615})").limit,
            std::numeric_limits<std::uint64_t>::max());
}

// --- Who opens a session ---

/// Why an identity is refused; "" if it is not.
std::string identity_refusal(const std::string& text) {
  const auto result = read_identity(text);
  const auto* const failure = std::get_if<Failure>(&result);
  if (failure == nullptr) return "";
  EXPECT_EQ(failure->status, 400);
  EXPECT_EQ(failure->code, "bad_request");
  return failure->detail;
}

TEST(identity, bodies_that_say_something_else_are_refused) {
  for (const std::string& text : {" "s, "[]"s, "null"s, "{"s, R"({"ref":"a"})"s,
                                  R"({"token":"a"})"s, R"({"name":1})"s, R"({"name":"a"}x)"s}) {
    EXPECT_NE(identity_refusal(text), "") << text;
  }
}

TEST(identity, refs_and_names_that_the_protocol_does_not_allow_are_refused) {
  for (const std::string& ref :
       {""s, std::string(65, 'r'), "a\\nb"s, "\\u007f"s, "\xc3\xa4"s, "\\t"s}) {
    EXPECT_EQ(identity_refusal(R"({"stable_ref":")" + ref + "\"}"),
              "stable_ref: expected 1 to 64 printable ASCII characters")
        << ref;
  }
  for (const std::string& name : {""s, std::string(129, 'n'), "a\\nb"s, "\\u007f"s, "\\u0085"s}) {
    EXPECT_EQ(identity_refusal(R"({"name":")" + name + "\"}"),
              "name: expected 1 to 128 bytes without control characters")
        << name;
  }
}

TEST(identity, may_be_left_out_whole_or_in_parts) {
  for (const std::string& text : {""s, "{}"s, R"({"stable_ref":null,"name":null})"s}) {
    const auto identity = std::get<Identity>(read_identity(text));
    EXPECT_EQ(identity.stable_ref, "") << text;
    EXPECT_EQ(identity.name, "") << text;
  }
  EXPECT_EQ(std::get<Identity>(read_identity(R"({"name":"b"})")).stable_ref, "");
}

TEST(identity, ref_and_name_are_read) {
  const std::string longest_ref(64, '~');
  const std::string longest_name(128, 'n');
  const auto identity = std::get<Identity>(
      read_identity(R"({"stable_ref":")" + longest_ref + R"(","name":")" + longest_name + "\"}"));
  EXPECT_EQ(identity.stable_ref, longest_ref);
  EXPECT_EQ(identity.name, longest_name);
  EXPECT_EQ(std::get<Identity>(read_identity(R"({"name":"d\u00e9p\u00f4t 7"})")).name,
            "d\xc3\xa9p\xc3\xb4t 7");
}

// As RFC 8259, 8.1 allows.
TEST(body, byte_order_mark_in_front_is_ignored) {
  EXPECT_EQ(parsed("\xef\xbb\xbf{\"limit\":1}").limit, 1U);
  expect_refused(
      "{\"limit\":\xef\xbb\xbf"
      "1}");
}

}  // namespace
}  // namespace dflockd::http
