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
constexpr std::uint32_t kClients = 9;
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

/// A real lock table with clients whose requests and replies take a few milliseconds. Two of three
/// share locks, and one of these has a ref under which it comes back when it has lost its
/// connection.
class Simulation final : private locks::EffectSink {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed) {
    apply(locks::ReserveFences{101, 1'000'000});
  }

  History run() {
    for (std::uint32_t client = 0; client < kClients; ++client) {
      open(client);
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
    int connections = 0;
    int breaks = 0;
    std::function<void(const Answer&)> waits{};  ///< for the end of a request that blocks
  };
  /// What a client asks for, again when it has come back.
  struct Wish {
    const Name* name;
    locks::Request request;
    Time timeout;
    bool in_two_phases;

    [[nodiscard]] std::string text() const {
      std::string text =
          name->text + std::string(" lease=") + std::to_string(request.lease.count());
      if (name->limit > 1) text += " limit=" + std::to_string(name->limit);
      return request.shared ? text + " shared" : text;
    }
    [[nodiscard]] std::string patience() const { return " timeout=" + std::to_string(timeout); }
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

  static bool shares(std::uint32_t client) { return client % 3 != 0; }
  static bool has_ref(std::uint32_t client) { return client % 3 == 1; }

  void open(std::uint32_t client) {
    Client& opened = clients_[client];
    opened.owner = apply(locks::OpenOwner{}).owner;
    owners_[opened.owner.index] = client;
    const std::string ref = "ref" + std::to_string(client);
    record(client, 'O',
           std::to_string(++opened.connections) + " tcp" + (has_ref(client) ? " " + ref : ""));
    if (has_ref(client)) apply(locks::SetRef{opened.owner, ref});
  }

  /// Breaks the connection, which the server notices a little later, and comes back to ask for the
  /// same again, mostly while that is kept.
  void break_off(std::uint32_t client, const Wish& wish) {
    ++clients_[client].breaks;
    clients_[client].waits = {};
    record(client, 'X', std::to_string(clients_[client].connections) + " close");
    at(soon(), [=, this] {
      apply(locks::CloseOwner{clients_[client].owner, {.orphan_ttl = kSimulatedTtl}});
      at(now_ + pick(1, 2500) * kMillisecond, [=, this] {
        open(client);
        ask_for(client, wish);
      });
    });
  }

  void take(const locks::Effect& effect) noexcept override {
    if (effect.answer.outcome == Outcome::kLeaseExpired) return;
    const auto waits = std::exchange(clients_[owners_[effect.owner.index]].waits, {});
    if (waits) waits(effect.answer);  // or it has just broken off
  }

  /// Sends a request, which the server carries out a little later; `then` follows the reply.
  void ask(std::uint32_t client, const std::string& request, const Command& command, Then then) {
    const int op = ++clients_[client].ops;
    const int breaks = clients_[client].breaks;
    record(client, 'I',
           std::to_string(op) + " " + std::to_string(clients_[client].connections) + " " + request);
    at(soon(), [=, this, then = std::move(then)] {
      if (clients_[client].breaks != breaks) return;
      const bool enqueues = std::holds_alternative<locks::Enqueue>(command);
      const auto reply = [=, this](const Answer& answer) {
        at(soon(), [=, this] {
          if (clients_[client].breaks != breaks) return;
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
    Wish wish{&name, {name.key, name.limit, seconds(pick(1, 5))}, pick(0, 6), pick(0, 2) == 0};
    wish.request.shared = shares(client) && name.limit == 1 && pick(0, 2) > 0;
    ask_for(client, wish);
  }

  void ask_for(std::uint32_t client, Wish wish) {
    wish.request.salt = random_();
    const locks::OwnerId owner = clients_[client].owner;
    const auto go_on = [=, this](const Answer& answer) {
      answer.outcome == Outcome::kGranted ? hold(client, wish, answer.token) : rest(client);
    };
    if (has_ref(client) && pick(0, 5) == 0) break_off_while_waiting(client, wish);
    if (!wish.in_two_phases) {
      return ask(client, "acquire " + wish.text() + wish.patience(),
                 locks::Acquire{owner, wish.request, seconds(wish.timeout)}, go_on);
    }
    // The second phase follows at once, so that the lease cannot run out between the two.
    ask(client, "enqueue " + wish.text(), locks::Enqueue{owner, wish.request},
        [=, this](auto& answer) {
          if (answer.outcome != Outcome::kQueued) return go_on(answer);
          ask(client, std::string("wait ") + wish.name->text + wish.patience(),
              locks::Wait{owner, wish.name->key, seconds(wish.timeout)}, go_on);
        });
  }

  /// Unless it has been answered by then.
  void break_off_while_waiting(std::uint32_t client, const Wish& wish) {
    const int op = clients_[client].ops + 1;
    at(now_ + pick(10, 300) * kMillisecond, [=, this] {
      const bool waits = clients_[client].waits && clients_[client].ops - op <= 1;
      if (!waits) return;
      record(client, 'U', std::to_string(clients_[client].ops));
      break_off(client, wish);
    });
  }

  void hold(std::uint32_t client, const Wish& wish, const locks::Token& token) {
    at(now_ + pick(10, 1500) * kMillisecond, [=, this] {
      if (has_ref(client) && pick(0, 2) == 0) return break_off(client, wish);
      const std::string grant =
          std::string(wish.name->text) + " token=" + to_string(Token{token.fence, token.salt});
      if (pick(0, 3) > 0) {
        return ask(client, "release " + grant, locks::Release{wish.name->key, token},
                   [=, this](const Answer&) { rest(client); });
      }
      const seconds lease = wish.request.lease;
      ask(client, "renew " + grant + " lease=" + std::to_string(lease.count()),
          locks::Renew{clients_[client].owner, wish.name->key, token, lease},
          [=, this](const Answer& answer) {
            answer.outcome == Outcome::kDone ? hold(client, wish, token) : rest(client);
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
  std::map<std::uint32_t, std::uint32_t> owners_;  ///< whose client's an owner's index is now
  locks::LockTable table_{{}, *this};
};

}  // namespace

History simulated_history(std::uint64_t seed) {
  return Simulation(seed).run();
}

}  // namespace dflockd::history
