// Sessions, locks and semaphores over HTTP.

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client.hpp"
#include "http_client.hpp"

namespace dflockd::conformance {

namespace {

using testing::MatchesRegex;

const Key kLock = lock("job");

TEST(HttpSessions, are_opened_pinged_and_deleted) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const HttpResponse opened = client.post("/v1/sessions");
  EXPECT_EQ(opened.status, 200);
  EXPECT_EQ(opened.json().size(), 2U);
  EXPECT_EQ(opened.json().at("idle_timeout_s"), 20);
  const std::string session = opened.text("session_id");
  EXPECT_THAT(session, MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(client.ping_session(session).summary(), "204");
  EXPECT_EQ(client.delete_session(session).summary(), "204");
}

}  // namespace

}  // namespace dflockd::conformance
