// Requests and responses of HTTP/1.1 (RFC 9110, RFC 9112), as far as the API needs them. Plain
// values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dflockd::http {

/// The methods that routes have, and all the others.
enum class Method : std::uint8_t { kGet, kHead, kPost, kDelete, kOptions, kOther };

/// "GET", and "OTHER" for any method that no route has: what a label may show.
[[nodiscard]] std::string_view text(Method method);

/// A request as it came. A header is there if it was sent, once; none of these may come twice.
struct Request {
  Method method = Method::kOther;
  std::string path;                           ///< still percent-encoded, without query and fragment
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
  std::string body{};
  std::string headers{};  ///< further ones, each ended by CR and LF
};

/// `{"error":...,"detail":...}`.
[[nodiscard]] Response to_response(const Failure& failure);

/// Appends the response to `out` as it goes over the wire. `head_only` leaves the body out and says
/// how long it is: the response to HEAD. `keep_alive` says whether the connection goes on.
void append_response(std::string& out, const Response& response, bool head_only, bool keep_alive);

/// `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string to_json_string(std::string_view text);

}  // namespace dflockd::http
