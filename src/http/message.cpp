#include "http/message.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>

#include <fmt/format.h>

#include "base/json.hpp"
#include "http/authority.hpp"

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
    case 403:
      return "Forbidden";
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
  if (!failure.detail.empty()) response.body += ",\"detail\":" + base::json_string(failure.detail);
  response.body += '}';
  return response;
}

void append_response(std::string& out, const Response& response, const Delivery& delivery) {
  constexpr std::size_t kUsualHead = 256;
  out.reserve(out.size() + kUsualHead + response.headers.size() + response.body.size());
  const bool lacks_newline = !response.body.empty() && !response.body.ends_with('\n');
  append_head(out, response, response.body.size() + (lacks_newline ? 1 : 0), delivery);
  if (delivery.head_only || response.status == 204) return;
  out += response.body;
  if (lacks_newline) out += '\n';
}

void append_head(std::string& out, const Response& response, std::size_t body_size,
                 const Delivery& delivery) {
  const auto append = [&out](std::initializer_list<std::string_view> parts) {
    for (const std::string_view part : parts) out += part;
  };
  const fmt::format_int status(response.status);
  append({"HTTP/1.1 ",
          {status.data(), status.size()},
          " ",
          reason(response.status),
          "\r\n",
          delivery.date_line,
          "Cache-Control: ",
          response.cache_control,
          "\r\nX-Content-Type-Options: nosniff\r\n"});
  if (response.status != 204) {
    const fmt::format_int length(body_size);
    append({"Content-Type: ",
            response.content_type,
            "\r\nContent-Length: ",
            {length.data(), length.size()},
            "\r\n"});
  }
  out += response.headers;
  out += delivery.keep_alive ? "\r\n" : "Connection: close\r\n\r\n";
}

std::string_view DateLine::at(std::time_t now) {
  if (now == time_) return line_;
  time_ = now;
  line_.clear();
  // The names are those of RFC 9110, 5.6.7, whatever the locale.
  constexpr std::array kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  constexpr int kYearZero = 1900;
  constexpr int kMostYears = 9999 - kYearZero;
  std::tm date{};
  if (::gmtime_r(&now, &date) == nullptr || date.tm_year < 0 || date.tm_year > kMostYears) {
    return line_;
  }
  fmt::format_to(std::back_inserter(line_), "Date: {}, {:02} {} {:04} {:02}:{:02}:{:02} GMT\r\n",
                 kDays.at(static_cast<std::size_t>(date.tm_wday)), date.tm_mday,
                 kMonths.at(static_cast<std::size_t>(date.tm_mon)), date.tm_year + kYearZero,
                 date.tm_hour, date.tm_min, date.tm_sec);
  return line_;
}

std::optional<std::string_view> bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer";
  const std::size_t end = std::min(authorization.find(' '), authorization.size());
  if (!same_name(authorization.substr(0, end), kScheme)) return std::nullopt;
  const std::size_t begin = authorization.find_first_not_of(' ', end);
  return authorization.substr(std::min(begin, authorization.size()));
}

}  // namespace dflockd::http
