#include "recorder.hpp"

#include <array>
#include <ostream>
#include <set>
#include <string>

namespace dflockd::locks {

namespace {

constexpr std::array kOutcomes{
    "granted",        "queued",           "timeout",       "max locks",     "max waiters",
    "limit mismatch", "already enqueued", "not enqueued",  "lease expired", "draining",
    "no fence",       "not held",         "mode mismatch", "has ref",       "done"};

/// In the order of `Command`.
constexpr std::array kCommands{"open owner",     "set ref",        "close owner", "acquire",
                               "enqueue",        "wait",           "cancel wait", "cancel waits",
                               "give up place",  "release",        "renew",       "advance",
                               "reserve fences", "start draining", "collect idle"};
static_assert(kCommands.size() == std::variant_size_v<Command>);

/// Whatever a command says, by the names of its members.
template <class Any>
void show_members(std::ostream& out, const Any& command) {
  if constexpr (requires { command.owner; }) out << ", " << command.owner;
  if constexpr (requires { command.key; }) out << ", " << command.key;
  if constexpr (requires { command.token; }) out << ", " << command.token;
  if constexpr (requires { command.request; }) {
    const Request& request = command.request;
    out << ", " << request.key << (request.shared ? " shared" : "") << ", limit " << request.limit
        << ", lease " << request.lease.count() << " s, salt " << request.salt;
  }
  if constexpr (requires { command.timeout; })
    out << ", timeout " << command.timeout.count() << " s";
  if constexpr (requires { command.lease; }) out << ", lease " << command.lease.count() << " s";
  if constexpr (requires { command.ref; }) out << ", " << command.ref;
  if constexpr (requires { command.legacy; }) {
    if (command.legacy.keeps_grants) out << ", keeps grants";
    out << ", orphans for " << command.legacy.orphan_ttl.count() << " s";
  }
  if constexpr (requires { command.undelivered; }) {
    if (!command.undelivered.empty()) out << ", undelivered";
    for (const std::uint64_t fence : command.undelivered) out << ' ' << fence;
  }
  if constexpr (requires { command.first; }) out << ", " << command.first << " to " << command.end;
  if constexpr (requires { command.budget; }) {
    out << ", idle for " << command.max_idle.count() << " ns, at most " << command.budget;
  }
}

}  // namespace

std::string_view kept(std::string_view name) {
  thread_local std::set<std::string, std::less<>> names;
  const auto found = names.find(name);
  return found != names.end() ? *found : *names.emplace(name).first;
}

std::ostream& operator<<(std::ostream& out, Outcome outcome) {
  return out << kOutcomes.at(static_cast<std::size_t>(outcome));
}

std::ostream& operator<<(std::ostream& out, const OwnerId& owner) {
  return out << "owner " << owner.index << '.' << owner.generation;
}

std::ostream& operator<<(std::ostream& out, const Key& key) {
  return out << (key.kind == Kind::kLock ? "lock " : "semaphore ") << key.name;
}

std::ostream& operator<<(std::ostream& out, const Token& token) {
  return out << "fence " << token.fence << " salt " << token.salt;
}

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << answer.outcome;
  if (answer.outcome == Outcome::kGranted)
    out << (answer.repeated ? " again, " : ", ") << answer.token;
  if (answer.lease.count() != 0) out << ", lease " << answer.lease.count() << " s";
  if (answer.owner != OwnerId{}) out << ", " << answer.owner;
  if (answer.dropped != 0) out << ", dropped " << answer.dropped;
  return out;
}

std::ostream& operator<<(std::ostream& out, const Effect& effect) {
  return out << '[' << effect.owner << ", " << effect.key << ": " << effect.answer << ']';
}

std::ostream& operator<<(std::ostream& out, const KeyInfo& key) {
  return out << key.key << ": limit " << key.limit << ", holders " << key.holders
             << (key.shared ? " shared" : "") << ", waiters " << key.waiters << ", waited "
             << key.waited.count() << ", " << key.owner << ", held " << key.held.count()
             << ", lease left " << key.lease_left.count() << ", idle " << key.idle.count();
}

std::ostream& operator<<(std::ostream& out, const TableCounts& counts) {
  return out << "keys " << counts.keys << ", claims " << counts.claims << ", held "
             << counts.locks_held << " + " << counts.semaphore_holders << ", waiters "
             << counts.lock_waiters << " + " << counts.semaphore_waiters;
}

std::ostream& operator<<(std::ostream& out, const Command& command) {
  out << kCommands.at(command.index());
  std::visit([&](const auto& any) { show_members(out, any); }, command);
  return out;
}

}  // namespace dflockd::locks
