#include "support/stats.hpp"

#include <stdexcept>

namespace dflockd::test {

Json stats(Client& observer) {
  const std::string reply = observer.ask("stats", "_", "_");
  if (!reply.starts_with("ok ")) throw std::runtime_error("not an answer to stats: " + reply);
  return Json::parse(reply.begin() + 3, reply.end());
}

Json element_of(const Json& array, const std::string& key) {
  for (const Json& candidate : array) {
    if (candidate.at("key") == key) return candidate;
  }
  return nullptr;
}

Json held(Client& observer, const Key& key) {
  return element_of(stats(observer).at(key.limit ? "semaphores" : "locks"), key.name);
}

bool is_idle(Client& observer, const Key& key) {
  const char* const array = key.limit ? "idle_semaphores" : "idle_locks";
  return !element_of(stats(observer).at(array), key.name).is_null();
}

std::int64_t waiters(Client& observer, const Key& key) {
  const Json found = held(observer, key);
  return found.is_null() ? 0 : found.at("waiters").get<std::int64_t>();
}

void await_waiters(Client& observer, const Key& key, std::int64_t count) {
  if (eventually([&] { return waiters(observer, key) == count; })) return;
  throw std::runtime_error("waiters of '" + key.name + "' do not become " + std::to_string(count) +
                           " but are " + std::to_string(waiters(observer, key)));
}

}  // namespace dflockd::test
