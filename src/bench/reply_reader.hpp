// What a connection has received, taken out a reply of HTTP/1.1 (RFC 9112) at a time.
//
//   while (const auto reply = reader.next()) handle(reply->status, reply->body);
//   if (reader.is_broken()) give_up();
//
// Takes what a server that knows the size of its replies sends, and nothing else: the body has a
// `Content-Length`, or the status is one without a body. Replies may arrive in pieces of any size.
// Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bench/input_buffer.hpp"

namespace dflockd::bench {

struct HttpReply {
  int status = 0;
  std::string_view body;
};

/// Status and body, for a message: `410 {"error":"session_gone"}`.
[[nodiscard]] std::string text(const HttpReply& reply);

class ReplyReader : public InputBuffer {
 public:
  using Reply = HttpReply;
  using InputBuffer::InputBuffer;

  /// The next complete reply, or nothing.
  [[nodiscard]] std::optional<HttpReply> next();

  /// What is unread does not begin as a reply does. Nothing more comes out.
  [[nodiscard]] bool is_broken() const { return broken_; }

 private:
  bool broken_ = false;
};

}  // namespace dflockd::bench
