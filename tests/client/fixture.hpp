// What the tests of locks and semaphores share. Contenders of both kinds are tested by the same
// cases.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <dflockd/dflockd.hpp>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/deadlines.hpp"
#include "support/server.hpp"
#include "support/stats.hpp"

namespace dflockd::client_test {

using namespace std::chrono_literals;
using test::Duration;
using test::eventually;
using test::kPatience;
using test::Server;
using test::within;
using Time = std::chrono::steady_clock;

inline std::string address_of(const Server& server) {
  return "127.0.0.1:" + std::to_string(server.port());
}

inline LockOptions lock_options(const std::string& server, const std::string& key = "job") {
  LockOptions options;
  options.key = key;
  options.servers = {server};
  return options;
}

/// The code that `call`, which takes a `std::error_code`, gives.
template <class Call>
std::error_code code_of(const Call& call) {
  std::error_code error = errc::protocol;  // must be overwritten
  call(error);
  return error;
}

/// The message of the error that `call` throws.
template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

enum class Kind { kLock, kSemaphore };
using Contending = std::unique_ptr<Contender, void (*)(Contender*)>;

/// A test that runs for a lock and for a semaphore of limit 1.
class OfEachKind : public testing::TestWithParam<Kind> {
 protected:
  /// Makes a contender of the kind.
  static Contending make(const LockOptions& options) {
    if (GetParam() == Kind::kLock) {
      return {new Lock(options), [](Contender* c) { delete static_cast<Lock*>(c); }};
    }
    SemaphoreOptions with_limit;
    static_cast<LockOptions&>(with_limit) = options;
    return {new Semaphore(with_limit), [](Contender* c) { delete static_cast<Semaphore*>(c); }};
  }
  static test::Key key(const std::string& name = "job") {
    return GetParam() == Kind::kLock ? test::lock(name) : test::semaphore(name, 1);
  }
};

#define FOR_EACH_KIND(suite)                                                       \
  INSTANTIATE_TEST_SUITE_P(                                                        \
      Of, suite, testing::Values(Kind::kLock, Kind::kSemaphore),                   \
      [](const testing::TestParamInfo<Kind>& parameter) {                          \
        return std::string(parameter.param == Kind::kLock ? "lock" : "semaphore"); \
      })

}  // namespace dflockd::client_test
