// How servers are named.

#include <string>

#include <gtest/gtest.h>

#include "client/arguments.hpp"
#include "client/failure.hpp"

namespace dflockd::client {
namespace {

struct Case {
  const char* given;
  const char* host;
  const char* port;
};

TEST(Endpoint, hosts_and_ports_are_parsed) {
  for (const Case& c :
       {Case{"localhost:1", "localhost", "1"}, Case{"10.0.0.1:65535", "10.0.0.1", "65535"},
        Case{"lockd.internal", "lockd.internal", "6388"}, Case{"[::1]:7000", "::1", "7000"},
        Case{"[fe80::1%eth0]", "fe80::1%eth0", "6388"}, Case{"lockd.test.:1", "lockd.test.", "1"},
        Case{"LockD", "LockD", "6388"}}) {
    const Endpoint endpoint = parse_endpoint(c.given);
    EXPECT_EQ(endpoint.host, c.host);
    EXPECT_EQ(endpoint.port, c.port);
  }
}

TEST(Endpoint, text_can_be_parsed_again) {
  EXPECT_EQ(parse_endpoint("[::1]:7000").text(), "[::1]:7000");
  EXPECT_EQ(parse_endpoint("localhost").text(), "localhost:6388");
}

TEST(Endpoint, what_is_no_server_is_refused_with_what_is_allowed) {
  for (const char* const given :
       {"",         ":6388",   "host:",         "host:0",        "host:65536",
        "host:-1",  "host:+1", "host:1x",       "host: 1",       "::1",
        "::1:6388", "[::1",    "[]:1",          "[localhost]:1", "[::1]6388",
        "[::1]:",   "a b:1",   "http://host:1", "user@host:1",   "host:1\n",
        ".:1",      ".test",   "a\x01:1",       "a\x7f:1"}) {
    try {
      static_cast<void>(parse_endpoint(given));
      ADD_FAILURE() << given << " was accepted";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), errc::invalid_argument);
      const std::string what = failure.what();
      EXPECT_TRUE(what.find("expected host:port") != std::string::npos) << what;
      EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    }
  }
}

TEST(Endpoint, nul_in_a_host_is_refused) {
  for (const std::string& given : {std::string("host\0:1", 7), std::string("host\0.evil", 10),
                                   std::string("[::1\0]:1", 9), std::string("host:1\0", 7)}) {
    try {
      static_cast<void>(parse_endpoint(given));
      ADD_FAILURE() << "accepted";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), errc::invalid_argument);
      EXPECT_NE(std::string(failure.what()).find("\\x00"), std::string::npos) << failure.what();
    }
  }
}

}  // namespace
}  // namespace dflockd::client
