#include "door.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

namespace dflockd::history {

namespace {

std::string lines(std::string_view command, std::string_view key, std::string_view argument) {
  std::string bytes;
  for (const std::string_view line : {command, key, argument}) bytes.append(line) += '\n';
  return bytes;
}

class LineDoor final : public Door {
 public:
  LineDoor(const Address& address, const TlsContext& tls, const std::string& secret,
           Clock::time_point deadline)
      : stream_(std::make_unique<Stream>(address, tls, deadline)) {
    if (secret.empty()) return;
    stream_->send(lines("auth", "_", secret), deadline);
    const std::string verdict = stream_->read_line(deadline);
    if (verdict == "error_auth") throw std::runtime_error("the right secret was refused");
    if (verdict != "ok") throw Lost("no verdict: " + verdict, true);
  }

  void enter(const std::string& ref, Clock::time_point deadline) override {
    if (ref.empty()) return;
    stream_->send(lines("stable-ref", ref, "_"), deadline);
    const std::string answer = stream_->read_line(deadline);
    if (answer != "ok") throw std::runtime_error("the ref was refused: " + answer);
  }

  std::string ask(const Request& request, Clock::time_point deadline,
                  const std::function<void()>& seen) override {
    std::string bytes;
    // What has arrived together is carried out together, before any of it is answered: so the pong
    // tells that the request behind it is in its queue. Sent at once it arrives at once.
    if (seen) bytes = lines("ping", "_", "_");
    bytes += lines(command(request), request.name(), argument(request));
    stream_->send(bytes, deadline);
    if (seen) {
      if (stream_->read_line(deadline) != "ok") throw std::runtime_error("no pong");
      seen();
    }
    return stream_->read_line(deadline);
  }

  [[nodiscard]] bool outlives_connection() const override { return false; }
  void reconnect(Clock::time_point /*deadline*/) override {
    throw std::logic_error("a connection that has ended has ended");
  }
  bool leave(Clock::time_point /*deadline*/) override {
    stream_.reset();
    return false;
  }
  void vanish(bool reset) override {
    if (reset) stream_->reset();
    stream_.reset();
  }

 private:
  static std::string command(const Request& request) {
    static constexpr std::array<std::pair<std::string_view, const char*>, 5> kLetters = {{
        {"acquire", "l"},
        {"enqueue", "e"},
        {"wait", "w"},
        {"release", "r"},
        {"renew", "n"},
    }};
    for (const auto& [verb, letter] : kLetters) {
      if (verb != request.verb) continue;
      if (!request.is_semaphore()) return (request.shared ? "r" : "") + std::string(letter);
      return letter[0] == 'l' ? "sl" : std::string("s") + letter;
    }
    throw std::logic_error("no such request: " + request.verb);
  }

  static std::string argument(const Request& request) {
    std::string words = request.token;
    const auto add = [&words](std::int64_t number) {
      if (!words.empty()) words += ' ';
      words += std::to_string(number);
    };
    if (request.verb == "acquire" || request.verb == "wait") add(request.timeout);
    if (request.limit > 0) add(request.limit);
    if (request.lease > 0) add(request.lease);
    return words;
  }

  std::unique_ptr<Stream> stream_;
};

class HttpDoor final : public Door {
 public:
  HttpDoor(Address address, TlsContext tls, std::string secret, Clock::time_point deadline)
      : address_(std::move(address)), tls_(std::move(tls)), secret_(std::move(secret)) {
    reconnect(deadline);
  }

  void enter(const std::string& ref, Clock::time_point deadline) override {
    const nlohmann::json body = {{"stable_ref", ref}};
    const Response response =
        call("POST", "/v1/sessions", ref.empty() ? "" : body.dump(), deadline);
    if (response.status == 401) throw std::runtime_error("the right secret was refused");
    if (response.status != 200) throw Lost("no session", true);
    session_ = nlohmann::json::parse(response.body).at("session_id").get<std::string>();
  }

  std::string ask(const Request& request, Clock::time_point deadline,
                  const std::function<void()>& /*seen*/) override {
    std::string path = request.is_semaphore() ? "/v1/semaphores/" : "/v1/locks/";
    path += request.name();
    if (request.verb != "acquire") path += "/" + request.verb;
    return words_of(call("POST", path, body_of(request), deadline));
  }

  [[nodiscard]] bool outlives_connection() const override { return true; }
  void reconnect(Clock::time_point deadline) override {
    stream_.reset();
    stream_ = std::make_unique<Stream>(address_, tls_, deadline);
  }
  bool leave(Clock::time_point deadline) override {
    const int status = call("DELETE", "/v1/sessions/" + session_, "", deadline).status;
    stream_.reset();
    return status == 204 || status == 410;
  }
  void vanish(bool reset) override {
    if (reset) stream_->reset();
    stream_.reset();
  }

 private:
  struct Response {
    int status = 0;
    std::string body;
  };

  Response call(std::string_view method, const std::string& path, const std::string& body,
                Clock::time_point deadline) {
    if (!stream_) reconnect(deadline);
    std::string bytes(method);
    bytes.append(" ").append(path).append(" HTTP/1.1\r\nHost: localhost\r\n");
    if (!secret_.empty()) bytes.append("Authorization: Bearer ").append(secret_).append("\r\n");
    if (!session_.empty()) bytes.append("X-Dflockd-Session: ").append(session_).append("\r\n");
    bytes.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n\r\n");
    stream_->send(bytes.append(body), deadline);

    Response response;
    const std::string first = stream_->read_line(deadline);
    if (!first.starts_with("HTTP/1.1 ")) throw Lost("not HTTP: " + first, true);
    response.status = std::stoi(first.substr(9));
    std::size_t length = 0;
    for (;;) {
      const std::string line = stream_->read_line(deadline);
      if (line == "\r") break;
      if (line.starts_with("Content-Length: ")) length = std::stoul(line.substr(16));
    }
    response.body = stream_->read_bytes(length, deadline);
    return response;
  }

  static std::string body_of(const Request& request) {
    nlohmann::json body = nlohmann::json::object();
    if (request.verb == "acquire") body["acquire_timeout_s"] = request.timeout;
    if (request.verb == "wait") body["timeout_s"] = request.timeout;
    if (request.lease > 0) body["lease_ttl_s"] = request.lease;
    if (request.limit > 0) body["limit"] = request.limit;
    if (request.shared) body["shared"] = true;
    if (!request.token.empty()) body["token"] = request.token;
    return body.dump();
  }

  /// The reply that the line protocol would have given.
  static std::string words_of(const Response& response) {
    if (response.status == 204) return "ok";
    if (response.status == 410) return "gone";
    const nlohmann::json body = nlohmann::json::parse(response.body, nullptr, false);
    if (!body.is_object()) return "http_" + std::to_string(response.status);
    if (response.status == 404 && body.value("error", "") == "not_held") return "error";
    if (response.status == 400 && body.value("detail", "").starts_with("shared: ")) return "error";
    if (response.status != 200) return "error_" + body.value("error", "?");
    if (body.contains("remaining_s")) {
      return "ok " + std::to_string(body.at("remaining_s").get<std::int64_t>());
    }
    std::string words = body.value("status", "?");
    if (body.contains("token")) {
      words += " " + body.at("token").get<std::string>() + " " +
               std::to_string(body.at("lease_ttl_s").get<std::int64_t>());
    }
    return words;
  }

  const Address address_;
  const TlsContext tls_;
  const std::string secret_;
  std::unique_ptr<Stream> stream_;
  std::string session_;
};

}  // namespace

std::string Request::record() const {
  std::string text = verb + " " + key;
  if (verb == "acquire" || verb == "wait") text += " timeout=" + std::to_string(timeout);
  if (lease > 0) text += " lease=" + std::to_string(lease);
  if (limit > 0) text += " limit=" + std::to_string(limit);
  if (shared) text += " shared";
  if (!token.empty()) text += " token=" + token;
  return text;
}

std::unique_ptr<Door> open_door(std::string_view kind, const Server& server,
                                Clock::time_point deadline) {
  const bool secure = kind.ends_with('s');
  if (secure && !server.tls) throw std::invalid_argument("TLS needs --ca");
  const TlsContext tls = secure ? server.tls : nullptr;
  if (kind.starts_with("http")) {
    return std::make_unique<HttpDoor>(Address{server.host, server.http_port}, tls, server.secret,
                                      deadline);
  }
  return std::make_unique<LineDoor>(Address{server.host, server.port}, tls, server.secret,
                                    deadline);
}

}  // namespace dflockd::history
