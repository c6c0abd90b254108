// Requests and responses of HTTP/1.1 (RFC 9110, RFC 9112), as far as the API needs them. Plain
// values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace dflockd::http {

/// The methods that routes have, and all the others.
enum class Method : std::uint8_t { kGet, kHead, kPost, kDelete, kOptions, kOther };

/// "GET", and "OTHER" for any method that no route has: what a label may show.
[[nodiscard]] std::string_view text(Method method);

/// A request as it came. A header is there if it was sent, once; none of these may come twice. Host
/// is `parse_authority`'s.
struct Request {
  Method method = Method::kOther;
  std::string path;                           ///< still percent-encoded, without query and fragment
  std::string query;                          ///< likewise, without the '?'
  std::optional<std::string> host;            ///< an absolute target's authority, or else Host
  std::optional<std::string> session;         ///< X-Dflockd-Session
  std::optional<std::string> authorization;   ///< Authorization
  std::optional<std::string> origin;          ///< Origin
  std::optional<std::string> request_method;  ///< Access-Control-Request-Method
  bool keep_alive = true;                     ///< the connection may go on after the response
  bool http_1_0 = false;
  std::string body;
};

/// Why an API request failed: the code in its JSON, and the status that goes with it.
struct Failure {
  int status = 400;
  std::string_view code = "bad_request";
  std::string detail{};  ///< for a human; may be empty
};

struct Response {
  int status = 200;
  std::string_view content_type = "application/json";  ///< if there is a body
  std::string_view cache_control = "no-store";  ///< what was true a moment ago may not be now
  std::string body{};
  std::string headers{};  ///< further ones, each ended by CR and LF
};

/// `{"error":...,"detail":...}`.
[[nodiscard]] Response to_response(const Failure& failure);

/// How a response goes over the wire.
struct Delivery {
  bool head_only = false;        ///< without the body, but with its length: the response to HEAD
  bool keep_alive = true;        ///< the connection goes on
  std::string_view date_line{};  ///< of `DateLine`
};

/// Appends the response to `out` as it goes over the wire: a body that does not end with a newline
/// gets one.
void append_response(std::string& out, const Response& response, const Delivery& delivery);

/// The same for the part in front of the body, whose size is given; that of `response` does not
/// count.
void append_head(std::string& out, const Response& response, std::size_t body_size,
                 const Delivery& delivery);

/// The header line that says when a response was made (RFC 9110, 6.6.1), line end included. It is
/// formatted again once a second at most.
class DateLine {
 public:
  /// The line for a time, which need not be later than the one before. Valid until the next call;
  /// empty for a time that has no such text.
  [[nodiscard]] std::string_view at(std::time_t now);

 private:
  std::time_t time_ = std::numeric_limits<std::time_t>::min();  ///< which has no text
  std::string line_;
};

/// The credentials in the value of an `Authorization` field whose scheme is `Bearer`, in whatever
/// case; nothing of any other (RFC 9110, 11.4).
[[nodiscard]] std::optional<std::string_view> bearer_token(std::string_view authorization);

}  // namespace dflockd::http
