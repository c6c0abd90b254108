// Writes a history as `history.hpp` describes it, so that a process that is killed loses nothing
// that it has written: each record is one write(2).
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace dflockd::history {

/// Nanoseconds of CLOCK_MONOTONIC.
std::int64_t monotonic_now();

class Writer {
 public:
  /// Creates the file, or goes on at its end. Throws std::system_error.
  explicit Writer(const std::string& path);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer();

  /// A connection or session is open. Returns its number.
  std::uint64_t open(std::string_view door, std::string_view ref);
  /// To be called before the request is sent. `request` is everything from the verb on.
  std::uint64_t invoke(std::uint64_t connection, std::string_view request);
  void seen(std::uint64_t operation) { write('S', operation, {}); }
  void reply(std::uint64_t operation, std::string_view reply) { write('R', operation, reply); }
  void abandon(std::uint64_t operation) { write('U', operation, {}); }
  /// To be called before it is done; `how` is close, reset or delete.
  void end(std::uint64_t connection, std::string_view how) { write('X', connection, how); }
  void confirm_end(std::uint64_t connection) { write('Y', connection, {}); }
  /// By whom: peer or local.
  void lost(std::uint64_t connection, std::string_view by) { write('D', connection, by); }

 private:
  void write(char kind, std::uint64_t number, std::string_view rest) const;

  const int file_;
  std::atomic<std::uint64_t> connections_{0};
  std::atomic<std::uint64_t> operations_{0};
};

/// A reply of the line protocol to `verb`, in a history's words.
std::string words_of(std::string_view verb, std::string_view reply);

}  // namespace dflockd::history
