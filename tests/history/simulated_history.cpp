#include "simulated_history.hpp"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace dflockd::history {

namespace {

constexpr Time kMillisecond = kSecond / 1000;
constexpr std::size_t kClients = 8;
constexpr Time kEnd = 60 * kSecond;

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed) {}

  History run() {
    for (std::size_t client = 0; client < kClients; ++client) {
      clients_[client].records = "O 0 1 tcp\n";
      at(pick(1, 1000) * kMillisecond, [this, client] { act(client); });
    }
    while (!agenda_.empty()) {
      const auto next = agenda_.begin();
      now_ = next->first;
      const auto action = std::move(next->second);
      agenda_.erase(next);
      action();
    }
    Reader reader;
    for (std::size_t client = 0; client < kClients; ++client) {
      reader.add("c" + std::to_string(client) + ".1", clients_[client].records);
    }
    return reader.finish();
  }

 private:
  struct Client {
    std::string records;
    int ops = 0;
    std::string key;
    std::optional<Token> token;
  };
  struct Waiter {
    std::size_t client;
    int op;
    Time lease;
    std::uint64_t serial;
  };
  struct Key {
    std::size_t limit = 1;
    std::map<std::uint64_t, Time> holders;  ///< until when, by fence
    std::deque<Waiter> queue;
  };

  Time pick(Time least, Time most) {
    return std::uniform_int_distribution<Time>(least, most)(random_);
  }
  void at(Time time, std::function<void()> action) { agenda_.emplace(time, std::move(action)); }
  void record(std::size_t client, char kind, const std::string& text) {
    clients_[client].records +=
        std::string(1, kind) + " " + std::to_string(now_) + " " + text + "\n";
  }
  Key& key(const std::string& name) {
    Key& found = keys_[name];
    found.limit = name[0] == 'S' ? 3 : 1;
    return found;
  }

  /// Sends a request; the server carries it out a little later.
  int send(std::size_t client, const std::string& request, std::function<void(int)> carry_out) {
    const int op = ++clients_[client].ops;
    record(client, 'I', std::to_string(op) + " 1 " + request);
    at(now_ + pick(1, 4) * kMillisecond, [op, carry_out = std::move(carry_out)] { carry_out(op); });
    return op;
  }
  void reply(std::size_t client, int op, const std::string& text, std::function<void()> then) {
    at(now_ + pick(1, 4) * kMillisecond, [=, this] {
      record(client, 'R', std::to_string(op) + " " + text);
      then();
    });
  }

  /// A client without a lock asks for one.
  void act(std::size_t client) {
    if (now_ > kEnd) return;
    static constexpr std::array kNames = {"L:a", "L:b", "S:c"};
    const std::string name = kNames[static_cast<std::size_t>(pick(0, 2))];
    clients_[client].key = name;
    const Time timeout = pick(0, 6);
    const Time lease = pick(1, 5);
    std::string request = name + " lease=" + std::to_string(lease);
    if (name[0] == 'S') request += " limit=3";
    if (pick(0, 2) == 0) {
      send(client, "enqueue " + request, [=, this](int op) { enqueue(client, op, name, lease); });
    } else {
      send(client, "acquire " + request + " timeout=" + std::to_string(timeout),
           [=, this](int op) { acquire(client, op, name, timeout, lease); });
    }
  }

  void acquire(std::size_t client, int op, const std::string& name, Time timeout, Time lease) {
    Key& wanted = key(name);
    if (wanted.holders.size() < wanted.limit) return grant(client, op, name, lease);
    if (timeout == 0) return reply(client, op, "timeout", [=, this] { rest(client); });
    if (pick(0, 1) == 0) record(client, 'S', std::to_string(op));
    wait(client, op, name, timeout, lease, ++serial_);
  }

  void wait(std::size_t client, int op, const std::string& name, Time timeout, Time lease,
            std::uint64_t serial) {
    key(name).queue.push_back({client, op, lease * kSecond, serial});
    time_out(client, op, name, timeout, serial);
  }

  void time_out(std::size_t client, int op, const std::string& name, Time timeout,
                std::uint64_t serial) {
    at(now_ + timeout * kSecond, [=, this] {
      const auto gone = std::erase_if(
          key(name).queue, [serial](const Waiter& waiter) { return waiter.serial == serial; });
      if (gone > 0) reply(client, op, "timeout", [=, this] { rest(client); });
    });
  }

  /// The second phase follows at once, so that the lease cannot run out between the two.
  void enqueue(std::size_t client, int op, const std::string& name, Time lease) {
    Key& wanted = key(name);
    if (wanted.holders.size() < wanted.limit) {
      return grant(client, op, name, lease, "acquired");
    }
    const std::uint64_t serial = ++serial_;
    wanted.queue.push_back({client, 0, lease * kSecond, serial});
    reply(client, op, "queued", [=, this] {
      const Time timeout = pick(0, 6);
      send(client, "wait " + name + " timeout=" + std::to_string(timeout), [=, this](int second) {
        for (Waiter& waiter : key(name).queue) {
          if (waiter.serial != serial) continue;
          waiter.op = second;
          return time_out(client, second, name, timeout, serial);
        }
        // Granted meanwhile.
        const auto early = early_.find(serial);
        key(name).holders[early->second.fence] = now_ + lease * kSecond;
        expire(name, early->second.fence);
        tell(client, second, name, early->second, lease, "ok");
      });
    });
  }

  void grant(std::size_t client, int op, const std::string& name, Time lease,
             const std::string& word = "ok") {
    const Token token{++fence_, static_cast<std::uint64_t>(random_())};
    key(name).holders[token.fence] = now_ + lease * kSecond;
    expire(name, token.fence);
    tell(client, op, name, token, lease, word);
  }

  void tell(std::size_t client, int op, const std::string& name, Token token, Time lease,
            const std::string& word) {
    const std::string text =
        word + " token=" + to_string(token) + " lease=" + std::to_string(lease);
    reply(client, op, text, [=, this] {
      clients_[client].token = token;
      hold(client, name, lease);
    });
  }

  void expire(const std::string& name, std::uint64_t fence) {
    at(key(name).holders[fence], [=, this] {
      const auto found = key(name).holders.find(fence);
      if (found == key(name).holders.end() || found->second > now_) return;
      key(name).holders.erase(found);
      serve(name);
    });
  }

  void serve(const std::string& name) {
    Key& free = key(name);
    while (free.holders.size() < free.limit && !free.queue.empty()) {
      const Waiter next = free.queue.front();
      free.queue.pop_front();
      if (next.op != 0) {
        grant(next.client, next.op, name, next.lease / kSecond);
        continue;
      }
      const Token token{++fence_, static_cast<std::uint64_t>(random_())};
      early_[next.serial] = token;
      free.holders[token.fence] = now_ + next.lease;
      expire(name, token.fence);
    }
  }

  void hold(std::size_t client, const std::string& name, Time lease) {
    at(now_ + pick(10, 1500) * kMillisecond, [=, this] {
      const std::string token = to_string(*clients_[client].token);
      const std::uint64_t fence = clients_[client].token->fence;
      if (pick(0, 3) == 0) {
        send(client, "renew " + name + " token=" + token + " lease=" + std::to_string(lease),
             [=, this](int op) {
               const bool held = key(name).holders.contains(fence);
               if (held) {
                 key(name).holders[fence] = now_ + lease * kSecond;
                 expire(name, fence);
               }
               reply(client, op, held ? "ok lease=" + std::to_string(lease) : "error",
                     [=, this] { held ? hold(client, name, lease) : rest(client); });
             });
      } else {
        send(client, "release " + name + " token=" + token, [=, this](int op) {
          const bool held = key(name).holders.erase(fence) > 0;
          reply(client, op, held ? "ok" : "error", [=, this] { rest(client); });
          if (held) serve(name);
        });
      }
    });
  }

  void rest(std::size_t client) {
    at(now_ + pick(1, 600) * kMillisecond, [=, this] { act(client); });
  }

  std::mt19937_64 random_;
  Time now_ = 0;
  std::multimap<Time, std::function<void()>> agenda_;
  std::map<std::size_t, Client> clients_;
  std::map<std::string, Key> keys_;
  std::map<std::uint64_t, Token> early_;  ///< granted to waiters before their second phase
  std::uint64_t fence_ = 100;
  std::uint64_t serial_ = 0;
};

}  // namespace

History simulated_history(std::uint64_t seed) {
  return Simulation(seed).run();
}

}  // namespace dflockd::history
