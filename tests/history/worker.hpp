// One user of locks, good and bad: acquires, holds, renews, releases, queues in two phases, lets
// leases run out, vanishes, comes back; under a stable ref, for what it left. What it asks and
// hears goes into a history.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "door.hpp"
#include "writer.hpp"

namespace dflockd::history {

/// What is wanted. A limit of 0 is a lock.
struct Key {
  std::string key;
  std::int64_t limit = 0;
};

/// How much somebody wants.
enum class Habit : std::uint8_t {
  kBusy,   ///< all the time: queues are long, and what waits there is soon pushed on by others
  kQuiet,  ///< now and then, for longer: a waiter that the server forgets remains forgotten
};

/// What kind of user it is.
struct User {
  std::string door;
  std::vector<Key> keys;
  Habit habit = Habit::kBusy;
  bool shares = false;  ///< asks for locks to share them, mostly
  std::string ref;      ///< empty: none
};

struct Grant {
  Key key;
  std::string token;
  std::int64_t lease = 0;
};

/// Tokens that one user leaves to another. Thread-safe.
class Pool {
 public:
  void leave(Grant grant);
  std::optional<Grant> take();

 private:
  std::mutex mutex_;
  std::vector<Grant> grants_;
};

class Worker {
 public:
  Worker(const Server& server, User user, Writer& writer, Pool& pool, std::uint64_t seed);

  /// Until the process is told to stop.
  void run();

 private:
  /// The connection is of no use any more, and that has been written down.
  struct Gone {};

  void connect();
  void cycle();
  Request new_request();
  void come_back(const Request& request);
  void ask_for(const Request& request);
  void acquire(const Request& request);
  void enqueue(const Request& request);
  void wait(const Request& first);
  void use(Grant grant);
  void outlive(const Grant& grant);
  void ask_for_too_much(const Key& key);
  void use_left_grant();
  void use_no_grant();

  /// Asks, and writes it down. With `give_up`, that many milliseconds later whatever happens.
  std::string ask(const Request& request, std::optional<std::int64_t> give_up = {});
  std::string ask_renew(const Grant& grant, std::int64_t lease);
  std::string ask_release(const Grant& grant);
  [[noreturn]] void lose(std::uint64_t operation, const Lost& lost);
  [[noreturn]] void give_up(std::uint64_t operation);
  void reconnect();
  [[noreturn]] void vanish();
  void leave();

  std::int64_t pick(std::int64_t least, std::int64_t most);
  bool chance(int percent) { return pick(1, 100) <= percent; }
  /// In milliseconds. Mostly short, sometimes long.
  std::int64_t holding_time();
  /// Mostly the shortest, so that a holder that is gone does not stop everybody for long.
  std::int64_t pick_lease();
  const Key& pick_key();

  const Server& server_;
  const User user_;
  Writer& writer_;
  Pool& pool_;
  std::mt19937_64 random_;
  std::unique_ptr<Door> door_;
  std::uint64_t connection_ = 0;
  /// What it asked for last under its ref, until it has no use for it any more.
  std::optional<Request> wish_;
};

}  // namespace dflockd::history
