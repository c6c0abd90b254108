// Bodies, how long they are, and the limits on them and on heads.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "reading.hpp"

namespace dflockd::http {
namespace {

using namespace std::string_literals;

// --- Bodies whose length two readers could see differently ---

TEST(request_reader, length_together_with_chunked_is_refused) {
  for (const std::string& length : {"0"s, "3"s, "11"s}) {
    const std::string first = "Content-Length: " + length + "\r\n";
    const std::string second = "Transfer-Encoding: chunked\r\n";
    expect_refused(with(first + second, "1\r\nx\r\n0\r\n\r\n"));
    expect_refused(with(second + first, "1\r\nx\r\n0\r\n\r\n"));
  }
}

TEST(request_reader, two_lengths_are_refused_though_they_are_equal) {
  expect_refused(with("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"));
  expect_refused(with("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"));
  expect_refused(with("Content-Length: 3\r\nX: y\r\ncontent-LENGTH: 3\r\n", "abc"));
}

TEST(request_reader, length_must_be_digits) {
  for (const std::string& length : {""s, " "s, "+3"s, "-3"s, "-0"s, "3, 3"s, "3,3"s, "3 3"s, "0x3"s,
                                    "3x"s, "x"s, "3.0"s, "3e0"s, "\"3\""s, "3;"s, ",3"s, "３"s}) {
    expect_refused(with("Content-Length: " + length + "\r\n", "abc"));
    expect_refused(with("Content-Length:" + length + "\r\n", "abc"));
  }
}

TEST(request_reader, length_that_no_integer_holds_is_too_large) {
  for (const std::string& length :
       {"18446744073709551615"s, "18446744073709551616"s, "18446744073709551619"s,
        "184467440737095516190"s, "00018446744073709551616"s, std::string(1'000, '9')}) {
    expect_refused(with("Content-Length: " + length + "\r\n", "abc"), 413);
    expect_refused(with("Content-Length: " + length + "x\r\n", "abc"));
    expect_refused(with("Content-Length: " + length + "\r\nContent-Length: 3\r\n", "abc"));
    expect_refused(with("Content-Length: " + length + "\r\nTransfer-Encoding: chunked\r\n"));
    expect_refused("POST / HTTP/1.1\r\nContent-Length: " + length + "\r\n\r\n");
  }
  EXPECT_EQ(only(with("Content-Length: " + std::string(100, '0') + "3\r\n", "abc")).body, "abc");
}

TEST(request_reader, other_transfer_encodings_than_chunked_are_refused) {
  for (const std::string& coding :
       {""s, " "s, "gzip"s, "identity"s, "gzip, chunked"s, "chunked, gzip"s, "chunked, chunked"s,
        "chunked,"s, ",chunked"s, "xchunked"s, "chunkedx"s, "chunked;q=1"s, "\"chunked\""s,
        "chunke"s, "chunked chunked"s, "x chunked"s,
        "\xc2\xa0"
        "chunked"s}) {
    expect_refused(with("Transfer-Encoding: " + coding + "\r\n", "0\r\n\r\n"));
  }
}

TEST(request_reader, two_transfer_encodings_are_refused) {
  for (const std::string& second : {"chunked"s, "identity"s, "gzip"s}) {
    const std::string fields =
        "Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: " + second + "\r\n";
    expect_refused(with(fields, "0\r\n\r\n"));
  }
  expect_refused(with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"));
}

TEST(request_reader, chunked_is_refused_for_http_1_0) {
  expect_refused(
      "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
  expect_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n");
}

TEST(request_reader, chunked_with_white_space_around_is_chunked_or_refused_but_never_ignored) {
  for (const std::string& value : {" chunked "s, "\tchunked"s, "chunked\t"s, "  chunked \t"s}) {
    const Reading reading =
        read_in_parts(with("Transfer-Encoding:" + value + "\r\n", "1\r\nx\r\n0\r\n\r\n"));
    if (reading.state == State::kRefused) continue;
    ASSERT_EQ(reading.requests.size(), 1U) << testing::PrintToString(value);
    EXPECT_EQ(reading.requests[0].body, "x") << testing::PrintToString(value);
  }
}

// --- The head before the body ---

TEST(request_reader, head_is_there_before_any_of_the_body_is_read) {
  for (const std::string& bytes :
       {with("X-Dflockd-Session: a\r\nContent-Length: 3\r\n", "abc"),
        with("X-Dflockd-Session: a\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        with("X-Dflockd-Session: a\r\n")}) {
    const std::size_t head_size = bytes.find("\r\n\r\n") + 4;
    RequestReader reader;
    EXPECT_EQ(reader.read(bytes), head_size);
    EXPECT_EQ(reader.state(), State::kHead);
    EXPECT_EQ(reader.request().path, "/v1/locks/k");
    EXPECT_EQ(reader.request().session, "a");
    EXPECT_EQ(reader.read(bytes.substr(head_size)), 0U) << "the body is not asked for";
    reader.keep_body();
    EXPECT_EQ(reader.read(bytes.substr(head_size)), bytes.size() - head_size);
    EXPECT_EQ(reader.state(), State::kComplete);
  }
}

TEST(request_reader, body_that_is_too_large_is_refused_after_the_head) {
  for (const std::string& length : {"1048577"s, std::string(100, '9')}) {
    RequestReader reader;
    reader.read(with("Content-Length: " + length + "\r\n"));
    EXPECT_EQ(reader.state(), State::kHead);
    reader.skip_body();
    EXPECT_EQ(reader.state(), State::kRefused);
    EXPECT_EQ(reader.failure().status, 413);
  }
}

TEST(request_reader, skipped_body_is_read_but_not_kept) {
  for (const std::string& bytes : {with("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"),
                                   with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n",
                                        "1\r\na\r\n2\r\nbc\r\n0\r\nT: x\r\n\r\n")}) {
    RequestReader reader;
    std::size_t consumed = reader.read(bytes);
    reader.skip_body();
    EXPECT_TRUE(reader.take_expectation());
    for (std::size_t end = consumed; end <= bytes.size(); ++end) {
      consumed += reader.read(std::string_view(bytes).substr(consumed, end - consumed));
    }
    EXPECT_EQ(consumed, bytes.size());
    EXPECT_EQ(reader.state(), State::kComplete);
    EXPECT_EQ(reader.request().body, "");
    reader.next();
    EXPECT_EQ(read_whole(reader, chunked("1\r\nx\r\n0\r\n\r\n")),
              chunked("1\r\nx\r\n0\r\n\r\n").size());
    EXPECT_EQ(reader.request().body, "x") << "the next is kept again";
  }
}

TEST(request_reader, skipped_body_may_have_1_mib_and_no_more) {
  const std::string half = "80000\r\n" + std::string(0x80000, 'x') + "\r\n";
  RequestReader reader;
  const std::string bytes = chunked(half + half + "1\r\nx\r\n0\r\n\r\n");
  const std::size_t head_size = reader.read(bytes);
  reader.skip_body();
  reader.read(std::string_view(bytes).substr(head_size));
  EXPECT_EQ(reader.state(), State::kRefused);
  EXPECT_EQ(reader.failure().status, 413);
}

// --- Bodies ---

TEST(request_reader, body_has_the_length_that_was_given) {
  EXPECT_EQ(only(with("Content-Length: 0\r\n")).body, "");
  EXPECT_EQ(only(with("Content-Length: 3\r\n", "abc")).body, "abc");
  EXPECT_EQ(only(with("Content-Length: 0003 \r\n", "abc")).body, "abc");
  EXPECT_EQ(only(with("Content-Length: 6\r\n", "\r\n\0\n\r\xff"s)).body, "\r\n\0\n\r\xff"s);
  const std::string inner = with("");
  const std::string outer = "Content-Length: " + std::to_string(inner.size()) + "\r\n";
  EXPECT_EQ(only(with(outer, inner)).body, inner);
}

TEST(request_reader, body_of_http_1_0_has_the_length_that_was_given) {
  EXPECT_EQ(only("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").body, "abc");
}

TEST(request_reader, chunks_make_a_body) {
  const std::pair<std::string, std::string> expected[] = {
      {"0\r\n\r\n", ""},
      {"3\r\nabc\r\n0\r\n\r\n", "abc"},
      {"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"},
      {"00003\r\nabc\r\n000\r\n\r\n", "abc"},
      {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
      {"4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"},
      {"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"},
      {"3;name=value;other=\"a b\"\r\nabc\r\n0;last\r\n\r\n", "abc"},
      {"3 ; name\r\nabc\r\n0\r\n\r\n", "abc"},
      {"3;\r\nabc\r\n0\r\n\r\n", "abc"},
      {"0\r\nTrailer: x\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: y\r\n\r\n", ""},
  };
  for (const auto& [bytes, body] : expected) EXPECT_EQ(only(chunked(bytes)).body, body) << bytes;
  EXPECT_EQ(only(with("transfer-encoding:CHUNKED\r\n", "1\r\nx\r\n0\r\n\r\n")).body, "x");
}

TEST(request_reader, trailers_change_nothing) {
  const Request request =
      only(chunked("0\r\nX-Dflockd-Session: a\r\nAuthorization: b\r\nConnection: close\r\n\r\n"));
  EXPECT_EQ(request.session, std::nullopt);
  EXPECT_EQ(request.authorization, std::nullopt);
  EXPECT_TRUE(request.keep_alive);
}

TEST(request_reader, chunk_sizes_must_be_hex_digits) {
  for (const std::string& size :
       {""s, " "s, " 3"s, "\t3"s, "-3"s, "+3"s, "0x3"s, "3h"s, "g"s, ";a=b"s, "3 "s, "3\t"s, "3 3"s,
        "3 x"s, "3,3"s, "3:"s, "3.0"s, "\"3\""s, "\xff"s}) {
    expect_refused(chunked(size + "\r\nabc\r\n0\r\n\r\n"));
  }
}

TEST(request_reader, chunk_size_that_no_integer_holds_is_too_large) {
  for (const std::string& size : {"FFFFFFFFFFFFFFFF"s, "FFFFFFFFFFFFFFFF1"s, "10000000000000003"s,
                                  "00010000000000000000;x"s, std::string(200, 'f')}) {
    expect_refused(chunked(size + "\r\nabc\r\n0\r\n\r\n"), 413);
  }
  EXPECT_EQ(only(chunked(std::string(100, '0') + "3\r\nabc\r\n0\r\n\r\n")).body, "abc");
}

TEST(request_reader, chunks_must_be_as_long_as_they_say) {
  expect_refused(chunked("2\r\nabc\r\n0\r\n\r\n"));
  expect_refused(chunked("4\r\nabc\r\n0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc\n0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc\r0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc\r\n\r\n0\r\n\r\n"));
}

TEST(request_reader, long_extensions_of_a_chunk_are_refused) {
  EXPECT_EQ(only(chunked("1;" + std::string(252, 'x') + "\r\nx\r\n0\r\n\r\n")).body, "x");
  expect_refused(chunked("1;" + std::string(253, 'x') + "\r\nx\r\n0\r\n\r\n"));
  EXPECT_EQ(read(chunked("1;" + std::string(254, 'x'))).state, State::kPartial);
  expect_refused(chunked("1;" + std::string(255, 'x')));
}

// --- Limits ---

TEST(request_reader, head_may_have_64_kib_and_no_more) {
  constexpr std::size_t kMost = 65'536;
  const std::string longest = head_of(kMost);
  ASSERT_EQ(longest.size(), kMost);
  const std::vector<std::size_t> cuts{1, 100, kMost - 4, kMost - 3, kMost - 2, kMost - 1};
  EXPECT_EQ(read(longest).requests.size(), 1U);
  EXPECT_EQ(read(longest, cuts), read(longest));

  const std::string longer = head_of(kMost + 1);
  EXPECT_EQ(read(longer).status, 431);
  EXPECT_EQ(read(longer, cuts), read(longer));
  EXPECT_EQ(read(head_of(10 * kMost)).status, 431);
}

TEST(request_reader, head_that_does_not_end_is_refused_at_64_kib) {
  const std::string endless = head_of(100'000);
  EXPECT_EQ(read(endless.substr(0, 65'536)).state, State::kPartial);
  EXPECT_EQ(read(endless.substr(0, 65'537)).status, 431);
  EXPECT_EQ(read("GET /" + std::string(65'532, 'x')).status, 431);
}

TEST(request_reader, longest_target_is_whole) {
  const std::string rest = with_line("GET / HTTP/1.1");
  const std::string path = "/" + std::string(65'536 - rest.size(), 'x');
  const Reading reading = read(with_line("GET " + path + " HTTP/1.1"));
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].path, path);
}

TEST(request_reader, lines_of_chunk_sizes_do_not_count_towards_the_head) {
  const std::string fields = "Transfer-Encoding: chunked\r\n";
  const Reading reading = read(head_of(65'530, fields) + "1;extension\r\nx\r\n0;extension\r\n\r\n");
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].body, "x");
}

TEST(request_reader, trailers_count_towards_the_head) {
  const std::string head = head_of(60'000, "Transfer-Encoding: chunked\r\n") + "0\r\n";
  const auto trailer = [](std::size_t size) { return "T: " + std::string(size - 5, 'x') + "\r\n"; };
  const std::vector<std::size_t> cuts{head.size() + 5'535, head.size() + 5'536,
                                      head.size() + 5'537};
  EXPECT_EQ(read(head + trailer(5'536) + "\r\n").requests.size(), 1U);
  EXPECT_EQ(read(head + trailer(5'536) + "\r\n", cuts).requests.size(), 1U);
  EXPECT_EQ(read(head + trailer(5'537) + "\r\n").status, 431);
  EXPECT_EQ(read(head + trailer(5'537) + "\r\n", cuts).status, 431);
  EXPECT_EQ(read(head + trailer(5'000) + trailer(537) + "\r\n").status, 431);
  EXPECT_EQ(read(head + trailer(100'000)).status, 431);
}

TEST(request_reader, empty_line_at_the_end_of_the_chunks_is_no_trailer) {
  const std::string chunks = "1\r\nx\r\n0\r\n\r\n";
  const std::string longest = head_of(65'536, "Transfer-Encoding: chunked\r\n");
  for (std::size_t end = 0; end <= chunks.size(); ++end) {
    const Reading reading = read(longest + chunks, {longest.size() + end});
    ASSERT_EQ(reading.requests.size(), 1U) << end;
    EXPECT_EQ(reading.requests[0].body, "x") << end;
  }
  EXPECT_EQ(read(longest + "0\r\nT\r\n\r\n").status, 431);
  EXPECT_EQ(read(longest + "0\r\nT: x\r\n\r\n").status, 431);

  std::string fields = "Transfer-Encoding: chunked\r\n";
  for (int i = 0; i < 98; ++i) fields += "a:b\r\n";
  EXPECT_EQ(read(with(fields, chunks)).requests.size(), 1U);
  EXPECT_EQ(read(with(fields, "0\r\na:b\r\n\r\n")).status, 431);
}

TEST(request_reader, request_may_have_100_fields_and_no_more) {
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "a:b\r\n";  // and Host
  EXPECT_EQ(read(with(fields)).requests.size(), 1U);
  EXPECT_EQ(read(with(fields + "a:b\r\n")).status, 431);
  EXPECT_EQ(read(with(fields + fields)).status, 431);
}

TEST(request_reader, trailers_count_towards_the_fields) {
  std::string fields = "Transfer-Encoding: chunked\r\n";
  for (int i = 0; i < 97; ++i) fields += "a:b\r\n";
  EXPECT_EQ(read(with(fields, "0\r\na:b\r\n\r\n")).requests.size(), 1U);
  EXPECT_EQ(read(with(fields, "0\r\na:b\r\na:b\r\n\r\n")).status, 431);
}

TEST(request_reader, what_is_wrong_first_is_refused_however_it_arrives) {
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "a:b\r\n";
  expect_refused(with(fields + "c: d\n"), 431);
  expect_refused(with("c: d\n" + fields), 400);
  expect_refused(head_of(60'000, "c d\r\n"), 400);
}

TEST(request_reader, body_may_have_1_mib_and_no_more) {
  constexpr std::size_t kMost = 1'048'576;
  const std::string longest(kMost, 'x');
  const Reading reading = read(with("Content-Length: 1048576\r\n", longest), {5'000, 1'000'000});
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].body, longest);
  EXPECT_EQ(read(with("Content-Length: 1048577\r\n")).status, 413) << "before any of it came";
  EXPECT_EQ(read(with("Content-Length: 999999999999\r\n")).status, 413);
}

TEST(request_reader, body_in_chunks_may_have_1_mib_and_no_more) {
  const std::string half = "80000\r\n" + std::string(0x80000, 'x') + "\r\n";
  const Reading reading = read(chunked(half + half + "0\r\n\r\n"), {300'000, 600'000});
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].body.size(), 1'048'576U);
  EXPECT_EQ(
      read(chunked("100000\r\n" + std::string(0x100000, 'x') + "\r\n0\r\n\r\n")).requests.size(),
      1U);
  EXPECT_EQ(read(chunked("100001\r\n")).status, 413) << "before any of it came";
  EXPECT_EQ(read(chunked(half + half + "1\r\n")).status, 413);
  EXPECT_EQ(read(chunked("1\r\nx\r\nFFFFFFFFFFFFFFF\r\n")).status, 413) << "the sum must not wrap";
}

TEST(request_reader, failures_have_the_codes_of_their_statuses) {
  const auto code = [](const std::string& bytes) {
    RequestReader reader;
    read_whole(reader, bytes);
    return reader.failure().code;
  };
  EXPECT_EQ(code(with("Bad Name: x\r\n")), "bad_request");
  EXPECT_EQ(code(with("Content-Length: 1048577\r\n")), "body_too_large");
  EXPECT_EQ(code(chunked("100001\r\n")), "body_too_large");
  EXPECT_EQ(code(std::string(65'537, 'x')), "headers_too_large");
}

// --- Expect: 100-continue ---

TEST(request_reader, unknown_expectations_are_refused) {
  for (const std::string& value : {""s, "x"s, "100"s, "100-continue, x"s, "200-ok"s}) {
    expect_refused(with("Expect: " + value + "\r\nContent-Length: 3\r\n", "abc"));
  }
}

TEST(request_reader, client_that_waits_to_send_a_body_is_told_once) {
  for (const std::string& length : {"Content-Length: 3\r\n"s, "Transfer-Encoding: chunked\r\n"s}) {
    RequestReader reader;
    const std::string head = with("Expect: 100-Continue\r\n" + length);
    const std::size_t consumed = reader.read(head.substr(0, head.size() - 1));
    EXPECT_FALSE(reader.take_expectation()) << "the head is not whole";
    EXPECT_EQ(read_whole(reader, head.substr(consumed)), head.size() - consumed);
    EXPECT_TRUE(reader.take_expectation());
    EXPECT_FALSE(reader.take_expectation());
    EXPECT_EQ(reader.state(), State::kPartial);
  }
}

TEST(request_reader, client_that_does_not_wait_is_told_nothing) {
  const std::string fields = "Expect: 100-continue\r\nContent-Length: 3\r\n";
  for (const std::string& bytes :
       {with(fields, "abc"), with(fields, "a"), with("Expect: 100-continue\r\n"),
        with("Content-Length: 3\r\n"),
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"s}) {
    RequestReader reader;
    read_whole(reader, bytes);
    EXPECT_FALSE(reader.take_expectation()) << bytes;
  }
}

}  // namespace
}  // namespace dflockd::http
