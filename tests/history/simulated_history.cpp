#include "simulated_history.hpp"

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "locks/lock_table.hpp"

namespace dflockd::history {

namespace {

using locks::Answer;
using locks::Command;
using locks::Kind;
using locks::Outcome;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr Time kMillisecond = kSecond / 1000;
constexpr std::uint32_t kClients = 8;
constexpr Time kEnd = 60 * kSecond;

/// A key in a history's words, and as the table has it.
struct Name {
  const char* text;
  locks::Key key;
  std::uint32_t limit;
};
constexpr std::array<Name, 3> kNames{{{"L:a", {Kind::kLock, "a"}, 1},
                                      {"L:b", {Kind::kLock, "b"}, 1},
                                      {"S:c", {Kind::kSemaphore, "c"}, 3}}};

/// A real lock table with clients whose requests and replies take a few milliseconds.
class Simulation final : private locks::EffectSink {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed) {
    apply(locks::ReserveFences{101, 1'000'000});
  }

  History run() {
    for (std::uint32_t client = 0; client < kClients; ++client) {
      clients_[client] = {.owner = apply(locks::OpenOwner{}).owner, .records = "O 0 1 tcp\n"};
      at(pick(1, 1000) * kMillisecond, [this, client] { act(client); });
    }
    while (!agenda_.empty()) {
      if (const Time due = table_.next_deadline().count(); due <= agenda_.begin()->first) {
        now_ = due;
        apply(locks::Advance{});
        continue;
      }
      const auto next = agenda_.extract(agenda_.begin());
      now_ = next.key();
      next.mapped()();
    }
    Reader reader;
    for (std::uint32_t client = 0; client < kClients; ++client) {
      reader.add("c" + std::to_string(client) + ".1", clients_[client].records);
    }
    return reader.finish();
  }

 private:
  using Then = std::function<void(const Answer&)>;
  struct Client {
    locks::OwnerId owner;
    std::string records;
    int ops = 0;
    std::function<void(const Answer&)> waits{};  ///< for the end of a request that blocks
  };

  Time pick(Time least, Time most) {
    return std::uniform_int_distribution<Time>(least, most)(random_);
  }
  void at(Time time, std::function<void()> action) { agenda_.emplace(time, std::move(action)); }
  Time soon() { return now_ + pick(1, 4) * kMillisecond; }
  Answer apply(const Command& command) { return table_.apply(nanoseconds(now_), command); }
  void record(std::uint32_t client, char kind, const std::string& text) {
    clients_[client].records +=
        std::string(1, kind) + " " + std::to_string(now_) + " " + text + "\n";
  }

  void take(const locks::Effect& effect) noexcept override {
    if (effect.answer.outcome == Outcome::kLeaseExpired) return;
    std::exchange(clients_[effect.owner.index].waits, {})(effect.answer);
  }

  /// Sends a request, which the server carries out a little later; `then` follows the reply.
  void ask(std::uint32_t client, const std::string& request, const Command& command, Then then) {
    const int op = ++clients_[client].ops;
    record(client, 'I', std::to_string(op) + " 1 " + request);
    at(soon(), [=, this, then = std::move(then)] {
      const bool enqueues = std::holds_alternative<locks::Enqueue>(command);
      const auto reply = [=, this](const Answer& answer) {
        at(soon(), [=, this] {
          record(client, 'R', std::to_string(op) + " " + words_of(answer, enqueues));
          then(answer);
        });
      };
      const Answer answer = apply(command);
      if (answer.outcome != Outcome::kQueued || enqueues) return reply(answer);
      clients_[client].waits = reply;
      if (pick(0, 1) == 0) record(client, 'S', std::to_string(op));
    });
  }

  static std::string words_of(const Answer& answer, bool enqueues) {
    const std::string lease = " lease=" + std::to_string(answer.lease.count());
    switch (answer.outcome) {
      case Outcome::kGranted:
        return (enqueues ? "acquired token=" : "ok token=") +
               to_string(Token{answer.token.fence, answer.token.salt}) + lease;
      case Outcome::kQueued:
        return "queued";
      case Outcome::kTimeout:
        return "timeout";
      case Outcome::kDone:
        return answer.lease.count() > 0 ? "ok" + lease : "ok";
      default:
        return "error";
    }
  }

  /// A client without a lock asks for one.
  void act(std::uint32_t client) {
    if (now_ > kEnd) return;
    const Name& name = kNames[static_cast<std::size_t>(pick(0, 2))];
    const Time timeout = pick(0, 6);
    const Time lease = pick(1, 5);
    std::string request = std::string(name.text) + " lease=" + std::to_string(lease);
    if (name.limit > 1) request += " limit=" + std::to_string(name.limit);
    const std::string patience = " timeout=" + std::to_string(timeout);
    const locks::OwnerId owner = clients_[client].owner;
    const locks::Request wanted{name.key, name.limit, seconds(lease), random_()};
    const auto go_on = [=, this, &name](const Answer& answer) {
      answer.outcome == Outcome::kGranted ? hold(client, name, answer.token, lease) : rest(client);
    };
    if (pick(0, 2) > 0) {
      return ask(client, "acquire " + request + patience,
                 locks::Acquire{owner, wanted, seconds(timeout)}, go_on);
    }
    // The second phase follows at once, so that the lease cannot run out between the two.
    ask(client, "enqueue " + request, locks::Enqueue{owner, wanted},
        [=, this, &name](auto& answer) {
          if (answer.outcome != Outcome::kQueued) return go_on(answer);
          ask(client, std::string("wait ") + name.text + patience,
              locks::Wait{owner, name.key, seconds(timeout)}, go_on);
        });
  }

  void hold(std::uint32_t client, const Name& name, const locks::Token& token, Time lease) {
    at(now_ + pick(10, 1500) * kMillisecond, [=, this, &name] {
      const std::string grant =
          std::string(name.text) + " token=" + to_string(Token{token.fence, token.salt});
      if (pick(0, 3) > 0) {
        return ask(client, "release " + grant, locks::Release{name.key, token},
                   [=, this](const Answer&) { rest(client); });
      }
      ask(client, "renew " + grant + " lease=" + std::to_string(lease),
          locks::Renew{clients_[client].owner, name.key, token, seconds(lease)},
          [=, this, &name](const Answer& answer) {
            answer.outcome == Outcome::kDone ? hold(client, name, token, lease) : rest(client);
          });
    });
  }

  void rest(std::uint32_t client) {
    at(now_ + pick(1, 600) * kMillisecond, [=, this] { act(client); });
  }

  std::mt19937_64 random_;
  Time now_ = 0;
  std::multimap<Time, std::function<void()>> agenda_;
  std::array<Client, kClients> clients_;
  locks::LockTable table_{{}, *this};
};

}  // namespace

History simulated_history(std::uint64_t seed) {
  return Simulation(seed).run();
}

}  // namespace dflockd::history
