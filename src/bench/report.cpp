#include "bench/report.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <iomanip>
#include <iostream>

#include <unistd.h>

namespace dflockd::bench {
namespace {

using std::chrono::nanoseconds;

struct Percentile {
  const char* title;
  const char* json_key;
  double percent;  // 100 is the exact maximum
};

constexpr const char* kEraseLine = "\r\x1b[K";

constexpr std::array<Percentile, 5> kPercentiles{{{"p50", "p50", 50},
                                                  {"p90", "p90", 90},
                                                  {"p99", "p99", 99},
                                                  {"p99.9", "p99_9", 99.9},
                                                  {"max", "max", 100}}};

double seconds(nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

nanoseconds value_at(const Histogram& histogram, const Percentile& percentile) {
  return percentile.percent < 100 ? histogram.percentile(percentile.percent) : histogram.max();
}

/// The quotient, or 0 where nothing was measured.
double per(double dividend, double divisor) {
  return divisor > 0 ? dividend / divisor : 0;
}

double cycles_per_second(const Result& result) {
  return per(double(result.cycles()), seconds(result.elapsed));
}

double cpu_us_per_cycle(const Result& result) {
  return per(seconds(*result.server_cpu) * 1e6, double(result.cycles()));
}

double cpu_utilisation(const Result& result) {
  return per(seconds(*result.server_cpu), seconds(result.elapsed));
}

/// What is counted, and how one of it is called.
const char* units(const Options& options) {
  return options.handshakes ? "handshakes" : "cycles";
}
const char* unit(const Options& options) {
  return options.handshakes ? "handshake" : "cycle";
}

std::string describe_handshakes(const Options& options) {
  std::string text = options.resume ? " at a time, resumed handshakes" : " at a time, handshakes";
  if (options.auth_token) text += ", the secret";
  return text + (options.ping ? ", a ping each" : "");
}

std::string describe(const Options& options) {
  std::string text = decimal(double(options.connections), 0);
  text += options.connections == 1 ? " connection" : " connections";
  if (options.handshakes) return text + describe_handshakes(options);
  text += options.http ? " of HTTP, " : ", ";
  text += options.keys == Keys::kShared ? "one shared key" : "own keys";
  text += ", pipeline " + decimal(double(options.pipeline), 0);
  if (options.semaphore) text += ", semaphore of " + decimal(double(*options.semaphore), 0);
  if (options.readers) text += ", readers";
  if (options.hold.count() > 0) text += ", held " + decimal(seconds(options.hold) * 1e3, 1) + " ms";
  return text;
}

void print_label(std::ostream& out, const char* label) {
  out << std::left << std::setw(12) << label << std::right;
}

void print_latencies(std::ostream& out, const char* label, const Histogram& histogram,
                     double units_per_second) {
  print_label(out, label);
  for (const Percentile& percentile : kPercentiles) {
    const double value = seconds(value_at(histogram, percentile)) * units_per_second;
    out << std::setw(12) << decimal(value, 1);
  }
  out << '\n';
}

const char* json_bool(bool value) {
  return value ? "true" : "false";
}

/// Escapes what JSON wants escaped. `text` has no control characters.
std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

void print_json_latencies(std::ostream& out, const char* label, const Histogram& histogram) {
  out << json_string(label) << ":{";
  const char* separator = "";
  for (const Percentile& percentile : kPercentiles) {
    const double value_us = seconds(value_at(histogram, percentile)) * 1e6;
    out << separator << json_string(percentile.json_key) << ':' << value_us;
    separator = ",";
  }
  out << '}';
}

void print_json_options(std::ostream& out, const Options& options) {
  out << "\"version\":" << json_string(DFLOCKD_VERSION)
      << ",\"protocol\":" << json_string(name(options.protocol))
      << ",\"http\":" << json_bool(options.http) << ",\"host\":" << json_string(options.host)
      << ",\"port\":" << options.port << ",\"connections\":" << options.connections;
  if (options.handshakes) {
    out << ",\"resume\":" << json_bool(options.resume) << ",\"ping\":" << json_bool(options.ping);
  } else {
    out << ",\"pipeline\":" << options.pipeline << ",\"keys\":" << json_string(name(options.keys))
        << ",\"semaphore\":";
    options.semaphore ? out << *options.semaphore : out << "null";
    out << ",\"readers\":" << json_bool(options.readers);
    out << ",\"hold_ms\":" << seconds(options.hold) * 1e3;
  }
  out << ",\"busy_poll\":" << json_bool(options.busy_poll);
}

void print_json_tls(std::ostream& out, const Options& options, const Result& result) {
  out << ",\"tls\":";
  if (!result.tls) {
    out << "null";
    return;
  }
  out << "{\"version\":" << json_string(result.tls->version)
      << ",\"cipher\":" << json_string(result.tls->cipher)
      << ",\"verified\":" << json_bool(!options.tls_insecure) << '}';
}

}  // namespace

void print_text(std::ostream& out, const Options& options, const Result& result) {
  const bool is_known = !options.handshakes || options.ping;
  out << (is_known ? name(options.protocol) : "server") << " at " << options.host << " port "
      << options.port << ": " << describe(options) << "\n\n";

  if (result.tls) {
    print_label(out, "TLS");
    out << result.tls->version << ", " << result.tls->cipher
        << (options.tls_insecure ? ", not verified\n" : ", verified\n");
  }
  print_label(out, "measured");
  out << decimal(seconds(result.elapsed), 2) << " s, " << decimal(double(result.cycles()), 0) << ' '
      << units(options) << ", ";
  if (options.resume) out << decimal(double(result.resumed), 0) << " resumed, ";
  out << decimal(double(result.errors), 0) << " errors\n";
  print_label(out, "throughput");
  out << decimal(cycles_per_second(result), 0) << ' ' << units(options) << "/s\n";
  if (result.server_cpu) {
    print_label(out, "server CPU");
    out << decimal(cpu_us_per_cycle(result), 3) << " µs a " << unit(options) << ", "
        << decimal(cpu_utilisation(result) * 100, 1) << " % of a core\n";
  }

  const bool in_milliseconds = result.cycle.max() >= std::chrono::milliseconds(100);
  const double units_per_second = in_milliseconds ? 1e3 : 1e6;
  // Not padded by setw, which would count the two bytes of a µ as two columns.
  out << (in_milliseconds ? "\nlatency, ms " : "\nlatency, µs ");
  for (const Percentile& percentile : kPercentiles) out << std::setw(12) << percentile.title;
  out << '\n';
  if (options.handshakes) {
    print_latencies(out, "handshake", result.handshake, units_per_second);
    print_latencies(out, "visit", result.cycle, units_per_second);
    return;
  }
  print_latencies(out, "acquire", result.acquire, units_per_second);
  print_latencies(out, "release", result.release, units_per_second);
  print_latencies(out, "cycle", result.cycle, units_per_second);
}

void print_json(std::ostream& out, const Options& options, const Result& result) {
  out << std::fixed << std::setprecision(3) << '{';
  print_json_options(out, options);
  print_json_tls(out, options, result);
  out << ",\"elapsed_s\":" << seconds(result.elapsed) << ",\"" << units(options)
      << "\":" << result.cycles() << ",\"" << units(options)
      << "_per_s\":" << cycles_per_second(result);
  if (options.handshakes) out << ",\"resumed\":" << result.resumed;
  out << ",\"errors\":" << result.errors
      << ",\"first_error\":" << (result.errors > 0 ? json_string(result.first_error) : "null")
      << ",\"server_cpu_us_per_" << unit(options) << "\":";
  result.server_cpu ? out << cpu_us_per_cycle(result) : out << "null";
  out << ",\"server_cpu_utilisation\":";
  result.server_cpu ? out << cpu_utilisation(result) : out << "null";
  out << ",\"latency_us\":{";
  if (options.handshakes) {
    print_json_latencies(out, "handshake", result.handshake);
    out << ',';
    print_json_latencies(out, "visit", result.cycle);
  } else {
    print_json_latencies(out, "acquire", result.acquire);
    out << ',';
    print_json_latencies(out, "release", result.release);
    out << ',';
    print_json_latencies(out, "cycle", result.cycle);
  }
  out << "}}\n";
}

std::string decimal(double value, int digits) {
  std::array<char, 400> buffer{};  // the largest double has 309 digits
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::fixed, digits);
  std::string text(buffer.data(), end);
  const std::size_t point = std::min(text.find('.'), text.size());
  for (std::size_t i = point; i > 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

bool Progress::is_wanted(const Options& options) {
  return !options.quiet && isatty(STDERR_FILENO) == 1;
}

Progress::Progress(const Measurement& measurement, const Options& options)
    : measurement_(measurement),
      unit_(options.handshakes ? " handshakes/s, " : " cycles/s, "),
      started_(Clock::now()),
      shown_(started_) {}

Progress::~Progress() {
  std::cerr << kEraseLine << std::flush;
}

void Progress::show() {
  const TimePoint now = Clock::now();
  const Result& result = measurement_.result();
  const double rate = double(result.cycles() - shown_cycles_) / seconds(now - shown_);
  std::cerr << kEraseLine << decimal(seconds(now - started_), 0) << " s: ";
  if (measurement_.is_measuring()) {
    std::cerr << decimal(rate, 0) << unit_ << decimal(double(result.errors), 0) << " errors";
  } else {
    std::cerr << "warming up";
  }
  std::cerr << std::flush;
  shown_ = now;
  shown_cycles_ = result.cycles();
}

}  // namespace dflockd::bench
