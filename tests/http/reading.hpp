// What a reader makes of bytes, whole and in parts: for the tests of heads and of bodies.
#pragma once

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "http/request_reader.hpp"

namespace dflockd::http {

inline bool operator==(const Request& left, const Request& right) {
  return left.method == right.method && left.path == right.path && left.session == right.session &&
         left.authorization == right.authorization && left.origin == right.origin &&
         left.request_method == right.request_method && left.keep_alive == right.keep_alive &&
         left.http_1_0 == right.http_1_0 && left.body == right.body;
}

inline void PrintTo(const Request& request, std::ostream* out) {
  *out << text(request.method) << ' ' << testing::PrintToString(request.path) << ' '
       << testing::PrintToString(request.session) << (request.keep_alive ? " keep-alive" : " close")
       << (request.http_1_0 ? " 1.0 " : " 1.1 ") << request.body.size() << " bytes";
}

using State = RequestReader::State;

/// What a reader makes of some bytes.
struct Reading {
  std::vector<Request> requests;
  State state = State::kIdle;
  int status = 0;  ///< of the failure
  std::size_t consumed = 0;

  bool operator==(const Reading& other) const {
    return requests == other.requests && state == other.state && status == other.status &&
           (state == State::kRefused || consumed == other.consumed);
  }
};

inline void PrintTo(const Reading& reading, std::ostream* out) {
  *out << "state " << static_cast<int>(reading.state) << ", status " << reading.status << ", "
       << reading.consumed << " consumed, requests " << testing::PrintToString(reading.requests);
}

/// Reads what it can of a request and its body. Returns how much it has consumed.
inline std::size_t read_whole(RequestReader& reader, std::string_view bytes) {
  std::size_t consumed = reader.read(bytes);
  if (reader.state() == State::kHead) {
    reader.keep_body();
    consumed += reader.read(bytes.substr(consumed));
  }
  return consumed;
}

/// Reads `bytes`, which arrive up to each of `arrivals` and then all. Each time they lie elsewhere.
inline Reading read(const std::string& bytes, const std::vector<std::size_t>& arrivals = {}) {
  RequestReader reader;
  Reading reading;
  const auto arrive = [&](std::size_t size) {
    for (;;) {
      const std::string unread = bytes.substr(reading.consumed, size - reading.consumed);
      const std::size_t consumed = read_whole(reader, unread);
      EXPECT_LE(consumed, unread.size());
      reading.consumed += consumed;
      if (reader.state() != State::kComplete) break;
      reading.requests.push_back(reader.request());
      reader.next();
    }
  };
  for (const std::size_t size : arrivals) arrive(size);
  arrive(bytes.size());
  reading.state = reader.state();
  if (reading.state == State::kRefused) reading.status = reader.failure().status;
  return reading;
}

/// The same, and again byte by byte and in two parts, cut at every place: no cut may matter.
inline Reading read_in_parts(const std::string& bytes) {
  Reading whole = read(bytes);
  std::vector<std::size_t> every;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    every.push_back(size);
    EXPECT_EQ(read(bytes, {size}), whole) << testing::PrintToString(bytes) << " cut at " << size;
  }
  EXPECT_EQ(read(bytes, every), whole) << testing::PrintToString(bytes) << " byte by byte";
  return whole;
}

inline void expect_refused(const std::string& bytes, int status = 400) {
  const Reading reading = read_in_parts(bytes);
  EXPECT_EQ(reading.state, State::kRefused) << testing::PrintToString(bytes);
  EXPECT_EQ(reading.status, status) << testing::PrintToString(bytes);
  EXPECT_TRUE(reading.requests.empty()) << testing::PrintToString(bytes);
}

/// The one request that `bytes` are.
inline Request only(const std::string& bytes) {
  const Reading reading = read_in_parts(bytes);
  EXPECT_EQ(reading.state, State::kIdle) << testing::PrintToString(bytes);
  EXPECT_EQ(reading.consumed, bytes.size()) << testing::PrintToString(bytes);
  EXPECT_EQ(reading.requests.size(), 1U) << testing::PrintToString(bytes);
  return reading.requests.empty() ? Request() : reading.requests.front();
}

/// A request with these further header lines, each ended by CR and LF.
inline std::string with(std::string_view fields, std::string_view body = "") {
  return "POST /v1/locks/k HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n" +
         std::string(body);
}

inline std::string chunked(std::string_view body) {
  return with("Transfer-Encoding: chunked\r\n", body);
}

inline std::string with_line(std::string_view request_line) {
  return std::string(request_line) + "\r\nHost: x\r\n\r\n";
}

/// Further header lines that make a head `size` bytes long.
inline std::string head_of(std::size_t size, std::string_view fields = "") {
  const std::size_t rest = with(std::string(fields) + "X: \r\n").size();
  return with(std::string(fields) + "X: " + std::string(size - rest, 'x') + "\r\n");
}

/// The bytes that a line must not hold.
inline std::vector<char> control_characters() {
  std::vector<char> result;
  for (char c = 0; c < 0x20; ++c) {
    if (c != '\t') result.push_back(c);
  }
  result.push_back('\x7f');
  return result;
}

}  // namespace dflockd::http
