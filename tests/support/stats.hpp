// What `stats` says, and waiting for it to say something: how a test learns that a request has been
// queued or that a disconnect has been noticed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "support/client.hpp"

namespace dflockd::test {

/// Keeps members in the order in which they came.
using Json = nlohmann::ordered_json;

/// Asks for `stats`. Throws if the answer is not "ok " and one JSON value.
Json stats(Client& observer);

/// The element of a key in one of the arrays; null if there is none.
Json element_of(const Json& array, const std::string& key);

/// The element for a held key of `locks` or `semaphores`; null if the key is not held.
Json held(Client& observer, const Key& key);

/// True if the key is listed as idle.
bool is_idle(Client& observer, const Key& key);

/// How many requests are queued for the key.
std::int64_t waiters(Client& observer, const Key& key);

/// Waits until that many requests are queued for the key; throws if it takes too long.
void await_waiters(Client& observer, const Key& key, std::int64_t count);

}  // namespace dflockd::test
