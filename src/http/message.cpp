#include "http/message.hpp"

#include <nlohmann/json.hpp>

#include <fmt/format.h>

namespace dflockd::http {

namespace {

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 413:
      return "Content Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Unknown";
  }
}

}  // namespace

std::string_view text(Method method) {
  switch (method) {
    case Method::kGet:
      return "GET";
    case Method::kHead:
      return "HEAD";
    case Method::kPost:
      return "POST";
    case Method::kDelete:
      return "DELETE";
    case Method::kOptions:
      return "OPTIONS";
    case Method::kOther:
      break;
  }
  return "OTHER";
}

Response to_response(const Failure& failure) {
  Response response{.status = failure.status};
  response.body = fmt::format(R"({{"error":"{}")", failure.code);
  if (!failure.detail.empty()) response.body += ",\"detail\":" + to_json_string(failure.detail);
  response.body += '}';
  return response;
}

void append_response(std::string& out, const Response& response, bool head_only, bool keep_alive) {
  const auto to = std::back_inserter(out);
  fmt::format_to(to, "HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
  if (response.status != 204) {
    fmt::format_to(to, "Content-Type: {}\r\nContent-Length: {}\r\n", response.content_type,
                   response.body.size());
  }
  out += response.headers;
  out += keep_alive ? "\r\n" : "Connection: close\r\n\r\n";
  if (!head_only && response.status != 204) out += response.body;
}

std::string to_json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace dflockd::http
