// What clients of a server, and whoever torments both, saw and when: read back from their files.
//
// A history is text, one record a line, one file a process. Times are nanoseconds of
// CLOCK_MONOTONIC, which is the same clock for every process and network namespace of a machine.
//
//   O <time> <conn> <door> [ref]               a connection, or HTTP session, is open: tcp, tls,
//                                              http or https; perhaps under a stable ref, which the
//                                              server may come to know later
//   I <time> <op> <conn> <verb> <key> [...]    about to send a request: acquire, enqueue, wait,
//                                              release, renew; timeout=, lease= (seconds), limit=,
//                                              token=, and shared
//   S <time> <op>                              the server is known to have read it by now
//   R <time> <op> <reply> [...]                the reply, in the words of the line protocol; of a
//                                              grant token= and lease=; `gone` if there is no such
//                                              session
//   U <time> <op>                              no longer waited for: its connection is given up
//   X <time> <conn> close|reset|delete         about to end the connection, or the session
//   Y <time> <conn>                            the server has confirmed that it is ended
//   D <time> <conn> peer|local                 found it ended: by the server, or by our own system
//   E <time> <event> [subject]                 the driver did something: see `Event`
//
// A key is `L:name` or `S:name`: the two namespaces do not meet. Ops and connections are numbered
// within a file. The file of a client is called `SLOT.RUN.history`: a client that was killed and
// started again has the same slot.
//
// An op without R has an unknown end: it may have been carried out at any time since, or never. A
// last line without its line end is what a killed process left, and is not read.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dflockd::history {

/// Nanoseconds of CLOCK_MONOTONIC.
using Time = std::int64_t;
inline constexpr Time kNever = std::numeric_limits<Time>::max();
inline constexpr Time kSecond = 1'000'000'000;

/// `time` plus `length`, which may be never.
constexpr Time later(Time time, Time length) {
  return time >= kNever - length ? kNever : time + length;
}

enum class Verb : std::uint8_t { kAcquire, kEnqueue, kWait, kRelease, kRenew };

enum class Reply : std::uint8_t {
  kNone,     ///< unknown
  kGranted,  ///< `ok` or `acquired`, with a token
  kOk,
  kQueued,
  kTimeout,
  kError,
  kAlreadyEnqueued,
  kNotEnqueued,
  kLeaseExpired,
  kLimitMismatch,
  kDraining,
  kGone,   ///< the HTTP session is unknown: nothing was done
  kOther,  ///< no reply that a client of this kind can get
};

struct Token {
  std::uint64_t fence = 0;
  std::uint64_t salt = 0;
  friend bool operator==(const Token&, const Token&) = default;
};

/// Where a record stands.
struct Place {
  std::uint32_t file = 0;
  std::uint32_t line = 0;
};

struct Operation {
  Place place;
  std::uint32_t connection = 0;  ///< index into `History::connections`
  std::uint32_t key = 0;         ///< index into `History::keys`
  std::uint32_t limit = 1;
  Verb verb = Verb::kAcquire;
  Reply reply = Reply::kNone;
  bool shared = false;  ///< acquire, enqueue
  Time invoked = 0;
  Time completed = kNever;
  Time seen = kNever;  ///< read by the server at this time or before
  Time abandoned = kNever;
  Time timeout = 0;
  Time lease = 0;
  Time reply_lease = 0;
  Token token{};  ///< asked with, or granted
};

enum class Door : std::uint8_t { kConnection, kSession };
enum class Ending : std::uint8_t { kNone, kClosed, kReset, kDeleted, kLost, kFailed };

constexpr std::uint32_t kNoRef = ~0U;

struct Connection {
  Place place;
  std::uint32_t ref = kNoRef;  ///< of all files alike; which number it is means nothing
  Door door = Door::kConnection;
  Ending ending = Ending::kNone;
  Time opened = 0;
  Time ended = kNever;      ///< when ending it began, or when it was found ended
  Time confirmed = kNever;  ///< the server has ended it by then
};

enum class Event : std::uint8_t {
  kServerStarting,
  kServerUp,
  kServerKill,  ///< SIGKILL is about to be sent
  kServerTerm,  ///< SIGTERM is about to be sent
  kServerDead,  ///< and it is gone
  kServerStop,  ///< SIGSTOP
  kServerContinue,
  kServerReload,
  kClientStart,
  kClientKill,  ///< the subject is SLOT.RUN
  kClientStop,  ///< the subject is the slot
  kClientContinue,
  kNetworkBegin,  ///< something is wrong on the slot's network from here
  kNetworkEnd,
  kPressureBegin,  ///< something may delay everybody
  kPressureEnd,
};
inline constexpr std::size_t kEvents = 16;

/// The word for it in a history.
std::string_view name_of(Event event);

struct Happening {
  Place place;
  Event event = Event::kServerUp;
  Time time = 0;
  std::string subject;
};

struct File {
  std::string name;  ///< without directories and ".history"
  std::string slot;  ///< the name up to its first dot
  Time last = 0;     ///< of its last record
};

struct History {
  std::vector<File> files;
  std::vector<std::string> keys;
  std::vector<Connection> connections;
  std::vector<Operation> operations;   ///< in the order of their invocations
  std::vector<Happening> happenings;   ///< in the order of time
  std::vector<std::string> malformed;  ///< what could not be read, and where

  /// `file:line`.
  [[nodiscard]] std::string where(Place place) const;
};

/// Reads one file after the other, and then gives the whole.
class Reader {
 public:
  /// `text` is what is in the file; it need not live on.
  void add(const std::string& path, std::string_view text);
  /// Reads the file. Throws std::system_error.
  void add_file(const std::string& path);
  /// The history. The reader is of no use afterwards.
  History finish();

 private:
  struct Line;
  void take(Line& line);
  void take_open(Line& line);
  void take_invocation(Line& line);
  void take_reply(Line& line);
  void take_ending(Line& line, char kind);
  void take_event(Line& line);
  void refuse(const Line& line, std::string_view why);
  std::uint32_t key_index(std::string_view name);
  Operation* operation(Line& line);
  Connection* connection(Line& line);

  History history_;
  std::unordered_map<std::string, std::uint32_t> key_indexes_;
  std::unordered_map<std::string, std::uint32_t> ref_indexes_;
  // Of the file that is being read.
  std::unordered_map<std::uint64_t, std::uint32_t> operations_;
  std::unordered_map<std::uint64_t, std::uint32_t> connections_;
};

/// "18a4f0c2b7d9e1f33a0c5d7e9b1f2a4c" and back. A text that is no token is all zeros.
Token parse_token(std::string_view text);
std::string to_string(const Token& token);

}  // namespace dflockd::history

template <>
struct std::hash<dflockd::history::Token> {
  std::size_t operator()(const dflockd::history::Token& token) const noexcept {
    return token.fence * 0x9e3779b97f4a7c15U ^ token.salt;
  }
};
