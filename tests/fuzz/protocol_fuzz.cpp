// Feeds bytes that may be requests of the line protocol to its framer and its parser, beside a
// simple reading of the same rules. How the bytes arrive must not matter: they are read whole, in
// pieces, and one by one. What is understood is said again with the client's words, and must be
// understood as the same.
//
// The pieces are cut by the end of the input: its last byte says how many sizes of pieces stand in
// front of it. Before that, 0xfe, two bytes and a character that ends no line stand for the
// character, as many times and once more as the two bytes say, or the longest lines would be too
// long for a fuzzer.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fuzzer/FuzzedDataProvider.h>
#include <memory>
#include <optional>
#include <sanitizer/asan_interface.h>
#include <string>
#include <string_view>
#include <vector>

#include <dflockd/detail/wire.hpp>
#include <dflockd/error.hpp>

#include "check.hpp"
#include "protocol/commands.hpp"
#include "protocol/framer.hpp"
#include "protocol/request.hpp"

namespace {

using dflockd::fuzz::check;
using namespace dflockd::protocol;
using namespace dflockd::service;
using std::chrono::seconds;

constexpr std::size_t kMostBytes = 70'000;

/// The lines of a request, and how many bytes it took.
struct Taken {
  std::string command;
  std::string key;
  std::string argument;
  std::size_t size = 0;

  friend bool operator==(const Taken&, const Taken&) = default;
};

struct Reading {
  std::vector<Taken> taken;
  bool too_long = false;

  friend bool operator==(const Reading&, const Reading&) = default;
};

std::string expand(std::string_view text) {
  constexpr char kRun = '\xfe';
  std::string bytes;
  for (std::size_t i = 0; i < text.size() && bytes.size() < kMostBytes; ++i) {
    if (text[i] != kRun || i + 3 >= text.size() || text[i + 3] == '\n') {
      bytes += text[i];
      continue;
    }
    const auto high = static_cast<unsigned char>(text[i + 1]);
    const auto low = static_cast<unsigned char>(text[i + 2]);
    bytes.append(high * std::size_t{256} + low + 1, text[i + 3]);
    i += 3;
  }
  return bytes;
}

/// The bytes that have arrived; the sanitizer guards those that have not.
class Arriving {
 public:
  explicit Arriving(std::string_view bytes)
      : bytes_(std::make_unique<char[]>(bytes.size())), size_(bytes.size()) {
    std::ranges::copy(bytes, bytes_.get());
    ASAN_POISON_MEMORY_REGION(bytes_.get(), size_);
  }
  Arriving(const Arriving&) = delete;
  Arriving& operator=(const Arriving&) = delete;
  ~Arriving() { ASAN_UNPOISON_MEMORY_REGION(bytes_.get(), size_); }

  void arrive(std::size_t size) {
    arrived_ = std::min(arrived_ + size, size_);
    ASAN_UNPOISON_MEMORY_REGION(bytes_.get(), arrived_);
  }
  [[nodiscard]] bool all() const { return arrived_ == size_; }
  [[nodiscard]] std::string_view since(std::size_t begin) const {
    return {bytes_.get() + begin, arrived_ - begin};
  }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
  std::size_t arrived_ = 0;
};

bool lies_in(std::string_view line, std::string_view bytes) {
  return line.data() >= bytes.data() && line.data() + line.size() <= bytes.data() + bytes.size();
}

/// Takes every request out of `unread`. Returns whether there may be more.
bool take_frames(Framer& framer, std::string_view unread, std::size_t& consumed, Reading& reading) {
  for (;;) {
    const Frame frame = framer.next(unread);
    if (frame.status == FrameStatus::kTooLong) reading.too_long = true;
    if (frame.status != FrameStatus::kComplete) {
      check(reading.too_long || unread.size() < kMaxFrame,
            "a request is complete or too long before its longest is over");
      return !reading.too_long;
    }
    check(frame.size > 0 && frame.size <= unread.size(), "a request is among what has arrived");
    const Lines& lines = frame.lines;
    for (const std::string_view line : {lines.command, lines.key, lines.argument}) {
      check(lies_in(line, unread.substr(0, frame.size)), "a line is among its request's bytes");
    }
    reading.taken.push_back({std::string(lines.command), std::string(lines.key),
                             std::string(lines.argument), frame.size});
    unread.remove_prefix(frame.size);
    consumed += frame.size;
  }
}

/// Reads the bytes as they arrive, in pieces that are `sizes` long, over and over again. If they
/// move, they are elsewhere each time.
Reading read(std::string_view bytes, const std::vector<std::size_t>& sizes, bool move) {
  Framer framer;
  Reading reading;
  Arriving arriving(bytes);
  std::size_t consumed = 0;
  for (std::size_t piece = 0;; ++piece) {
    arriving.arrive(sizes[piece % sizes.size()]);
    const std::string_view there = arriving.since(consumed);
    std::vector<char> elsewhere;
    if (move) elsewhere.assign(there.begin(), there.end());
    const std::string_view unread =
        move ? std::string_view(elsewhere.data(), elsewhere.size()) : there;
    if (!take_frames(framer, unread, consumed, reading) || arriving.all()) return reading;
  }
}

// --- A simple reading of the rules ---

Reading read_simply(std::string_view bytes) {
  Reading reading;
  std::vector<std::string> lines;
  std::string line;
  std::size_t begin = 0;  // of the request
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != '\n') {
      line += bytes[i];
      const bool is_secret = lines.size() == 2 && lines[0] == "auth";
      if (line.size() <= (is_secret ? 65'536U : 256U)) continue;
      reading.too_long = true;
      return reading;
    }
    while (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(line);
    line.clear();
    if (lines.size() < 3) continue;
    reading.taken.push_back({lines[0], lines[1], lines[2], i + 1 - begin});
    lines.clear();
    begin = i + 1;
  }
  return reading;
}

std::optional<std::uint64_t> number_in(std::string word, std::uint64_t least, std::uint64_t most) {
  if (word.empty() || word.find_first_not_of("0123456789") != std::string::npos) return {};
  word.erase(0, std::min(word.find_first_not_of('0'), word.size() - 1));
  if (word.size() > 10) return {};
  const std::uint64_t number = std::stoull(word);
  if (number < least || number > most) return {};
  return number;
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words(1);
  for (const char c : line) {
    if (c != ' ' && c != '\t') {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

/// What a command takes, a letter a word: (t)imeout, (l)imit, to(k)en, n(a)mespace, and (L)ease,
/// which may be missing.
std::optional<std::string> arguments_of(const std::string& command) {
  if (command == "l" || command == "rl") return "tL";
  if (command == "sl") return "tlL";
  if (command == "r" || command == "sr") return "k";
  if (command == "n" || command == "sn") return "kL";
  if (command == "e" || command == "re") return "L";
  if (command == "se") return "lL";
  if (command == "w" || command == "sw") return "t";
  if (command == "stat") return "a";
  return std::nullopt;
}

bool is_semaphore(const Request& request) {
  return request.key.kind == dflockd::locks::Kind::kSemaphore;
}

/// Whether `word` is what the letter stands for, and says what the parser has understood.
bool agrees(char letter, const std::string& word, const Request& request) {
  constexpr std::uint64_t kMost = 9'223'372'036;
  switch (letter) {
    case 't':
      return number_in(word, 0, kMost) == static_cast<std::uint64_t>(request.timeout.count());
    case 'l':
      return number_in(word, 1, 1'048'576) == request.limit;
    case 'L':
      return number_in(word, 1, kMost) == static_cast<std::uint64_t>(request.lease.count());
    case 'a':
      return word == (is_semaphore(request) ? "semaphore" : "lock");
    default:
      return word.size() == 32 && word.find_first_not_of("0123456789abcdef") == std::string::npos &&
             std::stoull(word.substr(0, 16), nullptr, 16) == request.token.fence &&
             std::stoull(word.substr(16), nullptr, 16) == request.token.salt;
  }
}

bool may_stand_for(char letter, const std::string& word) {
  constexpr std::uint64_t kMost = 9'223'372'036;
  if (letter == 'a') return word == "lock" || word == "semaphore";
  if (letter == 'k') {
    return word.size() == 32 && word.find_first_not_of("0123456789abcdef") == std::string::npos;
  }
  return number_in(word, letter == 't' ? 0 : 1, letter == 'l' ? 1'048'576 : kMost).has_value();
}

/// What a connection may call itself; of what is not ASCII the server's own word is taken.
bool is_own_name(const std::string& text, std::size_t most, bool ascii) {
  const auto is_plain = [](char c) { return c >= ' ' && c <= '~'; };
  if (text.empty() || text.size() > most) return false;
  if (ascii || std::ranges::all_of(text, [](char c) { return (c & 0x80) == 0; })) {
    return std::ranges::all_of(text, is_plain);
  }
  return dflockd::base::is_name(text);
}

bool is_valid(const Taken& taken) {
  constexpr std::array<std::string_view, 4> kAnyArguments{"ping", "stats", "auth", "barrier"};
  if (std::ranges::find(kAnyArguments, taken.command) != kAnyArguments.end()) return true;
  if (taken.command == "name") return is_own_name(taken.key, 128, false);
  if (taken.command == "stable-ref") return is_own_name(taken.key, 64, true);
  const std::optional<std::string> arguments = arguments_of(taken.command);
  if (!arguments || taken.key.empty() || taken.key.size() > 256) return false;
  if (taken.key.find_first_of(" \t\r\n") != std::string::npos) return false;
  const std::vector<std::string> words = words_of(taken.argument);
  const bool lease_missing = arguments->ends_with('L') && words.size() + 1 == arguments->size();
  if (!lease_missing && words.size() != arguments->size()) return false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!may_stand_for((*arguments)[i], words[i])) return false;
  }
  return true;
}

// --- What is understood ---

bool is_about_key(const Request& request) {
  using enum Verb;
  static constexpr std::array kAboutKeys{kAcquire, kRelease, kRenew, kEnqueue, kWait, kStat};
  return std::ranges::find(kAboutKeys, request.verb) != kAboutKeys.end();
}

/// Whether the client library can ask for it.
bool is_asked_by_client(const Request& request) {
  using enum Verb;
  if (request.shared || request.verb == kStat) return false;
  return is_about_key(request) || request.verb == kAuth || request.verb == kPing ||
         request.verb == kStats;
}

void check_understood(const Taken& taken, const Request& request) {
  check((request.verb != Verb::kInvalid) == is_valid(taken), "what is valid is understood");
  const auto number = label(request.verb, request.key.kind, request.shared);
  check(number < labels().size(), "a request has a label");
  if (request.verb == Verb::kInvalid) {
    check(labels()[number] == "invalid", "the label of what is not valid says so");
    return;
  }
  check(labels()[number] == taken.command, "the label of a request is its command");
  if (request.verb == Verb::kAuth) {
    check(request.text == taken.argument, "a secret is taken as it came");
  } else if (request.verb == Verb::kName || request.verb == Verb::kStableRef) {
    check(request.text == taken.key, "a name is taken as it came");
  }
  check(request.shared == (taken.command == "rl" || taken.command == "re"),
        "what is shared is known by its command");
  if (!is_about_key(request)) return;
  check(request.key.name == taken.key && dflockd::base::is_key(taken.key),
        "a key is taken as it came");
  const std::string arguments = *arguments_of(taken.command);
  const std::vector<std::string> words = words_of(taken.argument);
  for (std::size_t i = 0; i < words.size(); ++i) {
    check(agrees(arguments[i], words[i], request), "an argument is what its word says");
  }
  if (words.size() < arguments.size()) {
    check(request.lease == kDefaultLease, "a lease that is left out is the default");
  }
  check(is_semaphore(request) || request.limit == 1, "the limit of a lock is 1");
}

void append_words(std::string& out, const dflockd::base::Token& token, seconds lease) {
  append_grant(out, token, lease);
  out.erase(0, 3);  // "ok "
  out.resize(32);
}

/// The request in the client's words.
std::string said_again(const Request& request) {
  namespace wire = dflockd::detail;
  const wire::Target target{.key = request.key.name,
                            .limit = is_semaphore(request) ? static_cast<int>(request.limit) : 0};
  std::string token;
  append_words(token, request.token, seconds(0));
  std::string out;
  switch (request.verb) {
    case Verb::kAcquire:
      wire::append_acquire(out, target, request.timeout, request.lease);
      break;
    case Verb::kRelease:
      wire::append_release(out, target, token);
      break;
    case Verb::kRenew:
      wire::append_renew(out, target, token, request.lease);
      break;
    case Verb::kEnqueue:
      wire::append_enqueue(out, target, request.lease);
      break;
    case Verb::kWait:
      wire::append_wait(out, target, request.timeout);
      break;
    case Verb::kAuth:
      wire::append_auth(out, request.text);
      break;
    case Verb::kPing:
      wire::append_ping(out);
      break;
    case Verb::kStats:
      wire::append_stats(out);
      break;
    default:
      break;
  }
  return out;
}

void check_client_is_understood(const Request& request) {
  const std::string text = said_again(request);
  Framer framer;
  const Frame frame = framer.next(text);
  check(frame.status == FrameStatus::kComplete && frame.size == text.size(),
        "what the client says is one request");
  const Request again = parse(frame.lines);
  check(again.verb == request.verb && again.key == request.key &&
            again.timeout == request.timeout && again.lease == request.lease &&
            again.limit == request.limit && again.token == request.token &&
            (request.verb != Verb::kAuth || again.text == request.text),
        "what the client says is understood as it means it");
  if (!is_about_key(request)) return;
  try {
    dflockd::detail::check_key(request.key.name);
    dflockd::detail::check_timeout(request.timeout);
    dflockd::detail::check_lease(request.lease);
    if (is_semaphore(request)) dflockd::detail::check_limit(static_cast<int>(request.limit));
  } catch (const dflockd::Error&) {
    check(false, "the client allows what the server understands");
  }
}

/// What the server may answer to it must be the same to the client.
void check_replies(const Request& request) {
  namespace wire = dflockd::detail;
  const seconds lease = std::max(request.lease, request.timeout);
  std::string replies;
  append_grant(replies, request.token, lease);
  append_acquired(replies, request.token, lease);
  append_remaining(replies, lease);
  const std::vector<dflockd::base::Token> tokens = granted_tokens(replies);
  check(tokens.size() == 2 && tokens[0].fence == request.token.fence &&
            tokens[1].salt == request.token.salt,
        "the tokens of all grants are found, and nothing else");
  std::string_view rest = replies;
  const auto next_line = [&rest] {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    check(line.size() < kLongestReply && rest.size() > line.size(), "a reply is a short line");
    rest.remove_prefix(line.size() + 1);
    return line;
  };
  for (const auto& read_reply : {wire::read_grant, wire::read_enqueued}) {
    std::optional<dflockd::Grant> grant;
    check(!read_reply(next_line(), grant) && grant, "a grant is read as one");
    check(grant->lease_ttl == lease && grant->fence() == request.token.fence,
          "a grant is read as it was said");
  }
  seconds remaining{-1};
  check(!wire::read_remaining(next_line(), remaining) && remaining == lease,
        "the seconds of a renewal are read as they were said");
  check(rest.empty(), "every reply is one line");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  std::vector<std::size_t> pieces(input.ConsumeIntegralInRange<std::size_t>(0, 7));
  for (std::size_t& piece : pieces) piece = input.ConsumeIntegralInRange<std::size_t>(1, 256);
  const std::string bytes = expand(input.ConsumeRemainingBytesAsString());
  if (pieces.empty()) pieces = {3, 256};
  // Moving all of it for each piece takes time.
  for (std::size_t& piece : pieces) piece *= 1 + bytes.size() / 4'096;

  const Reading expected = read_simply(bytes);
  check(read(bytes, {bytes.size()}, false) == expected, "the whole is read by the rules");
  check(read(bytes, {1}, false) == expected, "single bytes give the same as the whole");
  check(read(bytes, pieces, true) == expected, "pieces give the same as the whole");

  for (const Taken& taken : expected.taken) {
    const Request request = parse({taken.command, taken.key, taken.argument});
    check_understood(taken, request);
    if (request.verb == Verb::kInvalid) continue;
    if (is_asked_by_client(request)) check_client_is_understood(request);
    check_replies(request);
  }
  return 0;
}
