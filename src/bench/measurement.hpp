// What the clients of a load share: which cycles may begin, and what was measured of them.
//
// A measurement is warming up until `begin`, counts the replies that arrive until `end`, and drains
// from then on: no cycle begins any more, and nothing but errors is counted. Not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bench/histogram.hpp"

namespace dflockd::bench {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/// A reply for a terminal or JSON: cut short, control and other bytes in hex.
[[nodiscard]] std::string printable(std::string_view reply);

/// What a TLS handshake agreed on, in OpenSSL's words: "TLSv1.3", "TLS_AES_128_GCM_SHA256".
struct TlsAgreement {
  std::string version;
  std::string cipher;
};

/// What was measured. A visit counts as a cycle.
struct Result {
  std::chrono::nanoseconds elapsed{0};
  std::optional<std::chrono::nanoseconds> server_cpu;  ///< used by the server during `elapsed`
  Histogram acquire;                                   ///< from sending until the reply
  Histogram release;                                   ///< from sending until the reply
  Histogram handshake;        ///< from connecting until the end of the TLS handshake
  Histogram cycle;            ///< from the acquire until the release's reply, or a whole visit
  std::uint64_t resumed = 0;  ///< handshakes that resumed a session
  std::uint64_t errors = 0;   ///< replies that were not the expected ones
  std::string first_error;    ///< printable; empty without errors
  std::optional<TlsAgreement> tls;  ///< what the first connection agreed on

  [[nodiscard]] std::uint64_t cycles() const { return cycle.count(); }
};

class Measurement {
 public:
  /// `count` bounds the cycles that begin.
  explicit Measurement(std::optional<std::uint64_t> count) : remaining_(count) {}

  void begin(TimePoint now);
  void end(TimePoint now);
  [[nodiscard]] bool is_measuring() const { return phase_ == Phase::kMeasuring; }
  [[nodiscard]] bool is_draining() const { return phase_ == Phase::kDraining; }

  /// How many of the `wanted` cycles may begin; none once no further cycle ever may.
  [[nodiscard]] std::size_t admit(std::size_t wanted);

  /// `times` acquires were granted after `latency`.
  void acquired(Histogram::Duration latency, std::uint64_t times);

  /// `times` cycles are complete, each release after `latency`, each whole cycle after `cycle`.
  void released(Histogram::Duration latency, Histogram::Duration cycle, std::uint64_t times);

  /// A visit is complete, its handshake after `handshake`, the whole of it after `whole`.
  void visited(Histogram::Duration handshake, Histogram::Duration whole, bool resumed);

  void agreed(TlsAgreement tls) { result_.tls = std::move(tls); }

  /// A request of the kind `what` was answered by something that is not expected.
  void unexpected(std::string_view what, std::string_view reply);

  /// How many replies have been counted.
  [[nodiscard]] std::uint64_t replies() const {
    return result_.acquire.count() + result_.release.count() + result_.handshake.count() +
           result_.errors;
  }

  /// The server used this much CPU time while the measurement was measuring.
  void server_used(std::chrono::nanoseconds cpu) { result_.server_cpu = cpu; }

  [[nodiscard]] const Result& result() const { return result_; }

 private:
  enum class Phase { kWarmingUp, kMeasuring, kDraining };

  Phase phase_ = Phase::kWarmingUp;
  std::optional<std::uint64_t> remaining_;
  TimePoint begun_{};
  Result result_;
};

}  // namespace dflockd::bench
