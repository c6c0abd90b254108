#include "reactor/stats_report.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include <fmt/format.h>

namespace dflockd::reactor {

namespace {

/// A JSON string. Bytes that are not valid UTF-8 become U+FFFD.
std::string quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Seconds, to the millisecond.
double seconds(locks::Instant time) {
  return std::chrono::duration<double>(std::chrono::floor<std::chrono::milliseconds>(time)).count();
}

}  // namespace

StatsReport::StatsReport(LockService& service, std::size_t connections) : service_(service) {
  pieces_[kLocks] = fmt::format(R"(ok {{"connections":{},"locks":[)", connections);
  pieces_[kSemaphores] = R"(],"semaphores":[)";
  pieces_[kIdleLocks] = R"(],"idle_locks":[)";
  pieces_[kIdleSemaphores] = R"(],"idle_semaphores":[)";
}

bool StatsReport::read_slice() {
  const auto next =
      service_.visit_keys(cursor_, kSlice, [this](const locks::KeyInfo& key) { add(key); });
  cursor_ = next.value_or(cursor_);
  return next.has_value();
}

void StatsReport::add(const locks::KeyInfo& key) {
  const bool is_lock = key.key.kind == locks::Kind::kLock;
  const std::string name = quoted(key.key.name);
  if (key.holders == 0) {
    fmt::format_to(element_of(is_lock ? kIdleLocks : kIdleSemaphores),
                   R"({{"key":{},"idle_s":{:.3f}}})", name, seconds(key.idle));
  } else if (is_lock) {
    const OwnerInfo& owner = service_.info(key.owner);
    fmt::format_to(element_of(kLocks),
                   R"({{"key":{},"owner_conn_id":{},"owner":"{}","held_s":{:.3f},)"
                   R"("lease_expires_in_s":{:.3f},"waiters":{}}})",
                   name, owner.connection_id, owner.peer, seconds(key.held),
                   seconds(key.lease_left), key.waiters);
  } else {
    fmt::format_to(element_of(kSemaphores), R"({{"key":{},"limit":{},"holders":{},"waiters":{}}})",
                   name, key.limit, key.holders, key.waiters);
  }
}

StatsReport::Pieces StatsReport::finish() {
  pieces_[kIdleSemaphores] += "]}\n";
  return std::move(pieces_);
}

/// Where the next element of an array goes.
std::back_insert_iterator<std::string> StatsReport::element_of(Array array) {
  std::string& piece = pieces_[array];
  if (piece.back() != '[') piece.push_back(',');
  return std::back_inserter(piece);
}

}  // namespace dflockd::reactor
