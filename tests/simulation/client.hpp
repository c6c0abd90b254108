// Clients of every temperament: what they send next. They check nothing, that is the oracle's part.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "random.hpp"
#include "sight.hpp"

namespace dflockd::simulation {

struct KnownToken {
  bool semaphore = false;
  std::string key;
  std::string token;
  bool shared = false;  ///< asked for so, of a lock
};

/// What all clients of a world have in common.
struct Neighbourhood {
  std::vector<std::string> keys;
  std::vector<std::uint32_t> limits;  ///< of the semaphores of these names
  unsigned hot = 50;                  ///< so many of a hundred requests are for the first key
  unsigned semaphores = 40;           ///< so many of a hundred are for semaphores
  std::uint64_t longest_lease = 10;
  std::uint64_t longest_timeout = 10;
  unsigned shared = 0;            ///< so many of a hundred requests for locks are shared
  std::vector<std::string> refs;  ///< that clients have in common; none: nobody has one
  std::vector<KnownToken> seen;   ///< tokens that somebody got, some of the latest
};

/// What a client may do, and the weight that each has in a temperament.
enum class Act : std::uint8_t {
  kAcquire,
  kEnqueue,
  kWait,
  kRelease,
  kRenew,
  kUseStale,   ///< a token that it has released or lost
  kUseForged,  ///< a token that was never given out
  kUseOthers,  ///< a token that somebody else was given
  kBurst,      ///< several requests at once
  kTrifle,     ///< ping, auth, name, stat, unknown commands
  kMalformed,  ///< numbers, keys, arguments that are not allowed
  kGarbage,    ///< bytes that are no requests
  kOverlong,   ///< a line that is too long, or just not
  kHalf,       ///< a request that is never completed
  kStopReading,
  kVanish,
  kCount,
};

struct Temperament {
  const char* name;
  unsigned weights[static_cast<std::size_t>(Act::kCount)];
  unsigned vanishes_when_granted;  ///< so many times of a hundred
  unsigned vanishes_when_blocked;
  unsigned dribbles;  ///< so many of a hundred messages arrive in pieces
};

[[nodiscard]] std::span<const Temperament> temperaments();

class Client {
 public:
  /// `ref`: under which it owns its claims; none if it is empty.
  Client(const Temperament& temperament, std::string ref)
      : temperament_(&temperament), ref_(std::move(ref)) {}

  /// The connection that it uses, or 0.
  ConnectionId connection = 0;

  [[nodiscard]] const Temperament& temperament() const { return *temperament_; }
  [[nodiscard]] bool waits() const { return !asked_.empty(); }

  /// What it does next, and in `bytes` what it sends for that.
  Act move(Random& random, Neighbourhood& neighbourhood, std::string& bytes);

  /// What it sends first: its secret, if the server demands one, and under which ref it comes.
  void greet(Random& random, std::string_view secret, std::string& bytes);

  /// Takes in replies. True if one of them is a grant.
  bool hear(std::string_view bytes, Neighbourhood& neighbourhood, Random& random);

  /// The connection is gone. Tokens may still be good.
  void disconnected();

 private:
  struct Asked {
    char letter = '?';
    KnownToken about;
  };

  /// An act before `end`, by its weight.
  [[nodiscard]] Act draw(Random& random, Act end) const;
  void ask(Random& random, Neighbourhood& neighbourhood, Act act, std::string& bytes);
  void send(std::string& bytes, char letter, const KnownToken& about, const std::string& argument,
            Random& random);
  void use_token(Random& random, const Neighbourhood& neighbourhood, Act act, std::string& bytes);
  [[nodiscard]] KnownToken some_key(Random& random, const Neighbourhood& neighbourhood) const;
  void trifle(Random& random, const Neighbourhood& neighbourhood, std::string& bytes);
  void say(std::string& bytes, const std::string& command, const std::string& key,
           const std::string& argument);
  void overlong(Random& random, const Neighbourhood& neighbourhood, std::string& bytes);
  void ask_again(Random& random, const Neighbourhood& neighbourhood, std::string& bytes);
  void malformed(Random& random, const Neighbourhood& neighbourhood, std::string& bytes);
  void take(std::string_view line, Neighbourhood& neighbourhood, Random& random);

  const Temperament* temperament_;
  std::string ref_;
  std::deque<Asked> asked_;
  std::vector<KnownToken> held_;
  std::vector<KnownToken> stale_;
  std::vector<KnownToken> enqueued_;  ///< without tokens
  /// What it had and asked for on connections that have ended, and may ask for again.
  std::vector<KnownToken> left_behind_;
  std::string half_line_;
};

}  // namespace dflockd::simulation
