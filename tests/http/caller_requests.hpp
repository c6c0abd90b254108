// Requests on the session of a caller, for the tests of sessions.
#pragma once

#include <string>
#include <string_view>

#include "connected.hpp"

namespace dflockd::http {

inline std::string with_session(const std::string& id) {
  return "X-Dflockd-Session: " + id + "\r\n";
}

inline std::string acquire(const std::string& session, std::string_view key = "k",
                           int timeout = 60) {
  return request("POST /v1/locks/" + std::string(key),
                 R"({"acquire_timeout_s":)" + std::to_string(timeout) + "}", with_session(session));
}

inline std::string enqueue(const std::string& session) {
  return request("POST /v1/locks/k/enqueue", "", with_session(session));
}

inline std::string wait(const std::string& session) {
  return request("POST /v1/locks/k/wait", R"({"timeout_s":60})", with_session(session));
}

inline std::string release(const std::string& session, const std::string& token,
                           std::string_view key = "k") {
  return request("POST /v1/locks/" + std::string(key) + "/release", R"({"token":")" + token + "\"}",
                 with_session(session));
}

inline std::string token_in(const Answer& answer) {
  const std::size_t at = answer.body.find(R"("token":")");
  return at == std::string::npos ? "" : answer.body.substr(at + 9, 32);
}

/// The ways in which a caller leaves.
inline constexpr void (*kLeaving[])(Connection&) = {
    [](Connection& caller) { caller.hang_up(false); },
    [](Connection& caller) { caller.hang_up(true); },
    [](Connection& caller) { caller.end("connection_lost"); },
};

}  // namespace dflockd::http
