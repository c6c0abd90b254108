// Finds requests in what a connection has received, with http_parser for the grammar.
//
//   RequestReader reader;
//   input.consume(reader.read(input.unread()));
//   switch (reader.state()) { case State::kComplete: answer(reader.request()); reader.next(); … }
//
// http_parser, as Debian builds it, is lenient: it takes a bare LF for a line end, a line that goes
// on in the next one (obs-fold), spaces in field names, other codings in front of `chunked`. Where
// one reader of a request sees another end of it than the next, requests are smuggled (RFC
// 9112, 11.2). So every line of head, chunk sizes and trailers is looked at before the parser sees
// it, and what two could read differently is refused.
//
// Bounded whatever comes: see the constants. One object a connection; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <http_parser.h>

#include "http/message.hpp"

namespace dflockd::http {

class RequestReader {
 public:
  /// The longest head: the request line and all fields, trailers included, but not the empty line
  /// behind those.
  static constexpr std::size_t kMaxHead = 64UL * 1024;
  static constexpr std::size_t kMaxFields = 100;
  static constexpr std::size_t kMaxBody = 1024UL * 1024;

  enum class State : std::uint8_t {
    kIdle,      ///< nothing of a request has come, though half of an empty line may have
    kPartial,   ///< a part has
    kComplete,  ///< `request` is whole
    kRefused,   ///< `failure` says why; nothing more can be read from this connection
  };

  RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  /// Reads from `unread`, which begins behind what was consumed by the calls before and holds at
  /// least what it held then. Stops at the end of a request. Returns how many bytes it has
  /// consumed.
  std::size_t read(std::string_view unread);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const Request& request() const { return request_; }
  [[nodiscard]] const Failure& failure() const { return failure_; }

  /// Whether the client waits to be told that it may send the body (`Expect: 100-continue`). True
  /// once for a request.
  [[nodiscard]] bool take_expectation();

  /// Goes on to the next request: `state` must be `kComplete`.
  void next();

 private:
  enum class Part : std::uint8_t { kHead, kBody, kChunkLine, kChunk, kTrailers };

  std::size_t read_head(std::string_view unread);
  std::size_t read_body(std::string_view unread);
  std::size_t read_line(std::string_view unread);
  bool check_head(std::string_view head);
  bool check_fields();
  bool feed_head(std::string_view head);
  bool check_target();
  bool take_field(std::string_view line);
  bool start_body();
  bool feed(std::string_view bytes);
  bool refuse(int status, std::string_view code, std::string_view detail);
  bool refuse_body();

  static int on_url(http_parser* parser, const char* at, std::size_t size);
  static int on_headers_complete(http_parser* parser);
  static int on_body(http_parser* parser, const char* at, std::size_t size);
  static int on_chunk_header(http_parser* parser);
  static int on_message_complete(http_parser* parser);

  http_parser parser_{};
  State state_ = State::kIdle;
  Part part_ = Part::kHead;
  std::size_t looked_at_ = 0;   ///< of a line or head that is not whole yet
  std::size_t head_size_ = 0;   ///< counts towards `kMaxHead`
  std::size_t fields_ = 0;      ///< counts towards `kMaxFields`
  std::size_t chunk_left_ = 0;  ///< of a chunk, its line end included
  std::size_t hosts_ = 0;
  bool chunked_ = false;
  bool has_length_ = false;
  bool has_huge_length_ = false;  ///< one that no integer may hold
  bool expects_continue_ = false;
  bool whole_ = false;  ///< the parser says so
  std::string url_;
  Request request_;
  Failure failure_;
};

}  // namespace dflockd::http
