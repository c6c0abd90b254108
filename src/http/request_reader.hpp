// Reads requests of HTTP/1.1 (RFC 9112) out of the bytes of a connection.
//
//   RequestReader reader;
//   input.consume(reader.read(input.unread()));
//   switch (reader.state()) {
//     case State::kHead: judge(reader.request()); reader.keep_body(); …
//     case State::kComplete: answer(reader.request()); reader.next(); …
//   }
//
// Strict, because requests are smuggled where two readers see another end of one (RFC 9112, 11.2):
// a line ends with CR and LF and is never folded, there is one length or `chunked` and nothing
// else, and what two readers could take differently is refused. What is made of some bytes does not
// depend on how they arrive.
//
// A line is taken as soon as it is whole, so a call does no more than its bytes are worth, and
// memory is bounded by the constants. One object a connection; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "http/message.hpp"

namespace dflockd::http {

class RequestReader {
 public:
  /// The longest head: the request line and all fields, trailers included, but not the empty line
  /// after those.
  static constexpr std::size_t kMaxHead = 64UL * 1024;
  static constexpr std::size_t kMaxFields = 100;
  static constexpr std::size_t kMaxBody = 1024UL * 1024;

  enum class State : std::uint8_t {
    kIdle,      ///< nothing of a request has come, though half of an empty line may have
    kPartial,   ///< a part of the head or of the body has
    kHead,      ///< `request` is whole but for its body: call `keep_body` or `skip_body`
    kComplete,  ///< `request` is whole: call `next`
    kRefused,   ///< `failure` says why; nothing more can be read from this connection
  };

  /// Reads from `unread`, which begins after what was consumed by the calls before and holds at
  /// least what it held then. Stops at the end of a head and of a request. Returns how many bytes
  /// it has consumed.
  std::size_t read(std::string_view unread);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const Request& request() const { return request_; }
  [[nodiscard]] const Failure& failure() const { return failure_; }

  /// Goes on to the body: `state` must be `kHead`. A body that is announced as too large is refused
  /// here.
  void keep_body() { begin_body(true); }
  /// The same, but the body is not put into `request`.
  void skip_body() { begin_body(false); }

  /// Whether the client may be waiting for `100 Continue`: it asked for that, and nothing of the
  /// body has come.
  [[nodiscard]] bool expects_continue() const { return expects_continue_; }
  /// The same while the body is being read. True once for a request: the client is to be answered.
  [[nodiscard]] bool take_expectation();

  /// Goes on to the next request: `state` must be `kComplete`.
  void next() { *this = RequestReader(); }

 private:
  enum class Part : std::uint8_t {
    kRequestLine,
    kFields,
    kBody,  ///< of a given length
    kChunkLine,
    kChunk,
    kChunkEnd,
    kTrailers,
  };

  std::size_t read_line(std::string_view unread);
  std::size_t read_content(std::string_view unread);
  std::size_t read_chunk_end(std::string_view unread);
  bool fits(std::string_view line);
  bool take_line(std::string_view line);
  bool take_request_line(std::string_view line);
  bool take_target(std::string_view target, bool is_connect);
  bool take_field(std::string_view line);
  bool take_known_field(std::string_view name, std::string_view value);
  bool take_host(std::string_view value);
  bool take_length(std::string_view value);
  void take_connection(std::string_view options);
  bool take_chunk_line(std::string_view line);
  bool end_head();
  void begin_body(bool keep);
  bool refuse(std::string_view detail);
  bool refuse(int status, std::string_view code, std::string_view detail);
  bool refuse_body();

  State state_ = State::kIdle;
  Part part_ = Part::kRequestLine;
  bool has_host_ = false;
  bool has_length_ = false;
  bool chunked_ = false;
  bool says_close_ = false;
  bool says_keep_alive_ = false;
  bool expects_continue_ = false;
  bool keeps_body_ = true;
  std::size_t looked_at_ = 0;  ///< of a line that is not whole yet
  std::size_t head_size_ = 0;  ///< counts towards `kMaxHead`
  std::size_t fields_ = 0;     ///< counts towards `kMaxFields`
  std::uint64_t left_ = 0;     ///< of the body or the chunk
  std::size_t body_size_ = 0;  ///< of all chunks so far
  Request request_;
  Failure failure_;
};

}  // namespace dflockd::http
