// Tests of what locks and semaphores have in common run once for each: "A lock is a semaphore of
// limit 1 inside the server."
//
//   class Leases : public OfEachNamespace {};
//   FOR_EACH_NAMESPACE(Leases);
//   TEST_P(Leases, expired_lease_goes_to_next_waiter) { ... key("job") ... }
#pragma once

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "support/client.hpp"

namespace dflockd::test {

enum class Namespace { kLocks, kSemaphores };

class OfEachNamespace : public testing::TestWithParam<Namespace> {
 protected:
  /// A lock, or a semaphore of one slot.
  [[nodiscard]] static Key key(std::string name) {
    return GetParam() == Namespace::kLocks ? lock(std::move(name)) : semaphore(std::move(name), 1);
  }

  /// A key of the same name where it must not meet the other one.
  [[nodiscard]] static Key namesake(const Key& key) {
    return key.limit ? lock(key.name) : semaphore(key.name, 1);
  }
};

#define FOR_EACH_NAMESPACE(suite)                                                          \
  INSTANTIATE_TEST_SUITE_P(                                                                \
      Of, suite, testing::Values(Namespace::kLocks, Namespace::kSemaphores),               \
      [](const testing::TestParamInfo<Namespace>& parameter) {                             \
        return std::string(parameter.param == Namespace::kLocks ? "locks" : "semaphores"); \
      })

}  // namespace dflockd::test
