// Feeds bytes that may be the JSON body of a request to its parser, and to the JSON library as a
// whole document: what the one takes, the other must have in it, and the other way round.
//
// The last byte chooses which fields are allowed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fuzzer/FuzzedDataProvider.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "check.hpp"
#include "http/body.hpp"
#include "http/message.hpp"

namespace {

using dflockd::fuzz::check;
using dflockd::http::Body;
using dflockd::http::Failure;
using Json = nlohmann::json;
using Parsed = std::variant<Body, Failure>;

/// The names that may stand in the body of a kind of request.
using Names = std::vector<std::string>;

/// As the routes have them; the last is for no route.
const std::array<Names, 8> kAllowed{{{"acquire_timeout_s", "lease_ttl_s", "limit"},
                                     {"acquire_timeout_s", "lease_ttl_s", "shared"},
                                     {"token"},
                                     {"token", "lease_ttl_s"},
                                     {"timeout_s"},
                                     {"limit", "lease_ttl_s"},
                                     {},
                                     {"acquire_timeout_s", "timeout_s", "lease_ttl_s", "limit",
                                      "token", "shared", "stable_ref", "name"}}};

Parsed parse(std::string_view text, std::size_t kind) {
  using dflockd::http::parse_body;
  switch (kind) {
    case 0:
      return parse_body(text, {"acquire_timeout_s", "lease_ttl_s", "limit"});
    case 1:
      return parse_body(text, {"acquire_timeout_s", "lease_ttl_s", "shared"});
    case 2:
      return parse_body(text, {"token"});
    case 3:
      return parse_body(text, {"token", "lease_ttl_s"});
    case 4:
      return parse_body(text, {"timeout_s"});
    case 5:
      return parse_body(text, {"limit", "lease_ttl_s"});
    case 6:
      return parse_body(text, {});
    default:
      return parse_body(text, {"acquire_timeout_s", "timeout_s", "lease_ttl_s", "limit", "token",
                               "shared", "stable_ref", "name"});
  }
}

/// The object that `text` is, if no name comes twice in it.
std::optional<Json> read_object(const std::string& text) {
  if (text.find('\0') != std::string::npos) return std::nullopt;  // the library's end of a text
  std::map<std::string, int> times;
  const auto count = [&times](int depth, Json::parse_event_t event, const Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1) ++times[parsed.get<std::string>()];
    return true;
  };
  Json document = Json::parse(text, count, false);
  if (document.is_discarded() || !document.is_object()) return std::nullopt;
  for (const auto& [name, number] : times) {
    if (number > 1) return std::nullopt;
  }
  return document;
}

bool is_allowed(const Json& object, const Names& names) {
  return std::ranges::all_of(object.items(), [&](const auto& field) {
    if (std::ranges::find(names, field.key()) == names.end()) return false;
    if (field.value().is_null()) return true;
    if (field.key() == "shared") return field.value().is_boolean();
    const bool is_text =
        field.key() == "token" || field.key() == "stable_ref" || field.key() == "name";
    return is_text ? field.value().is_string() : field.value().is_number_unsigned();
  });
}

template <class Field>
void check_field(const Json& object, const char* name, const std::optional<Field>& taken) {
  const bool is_there = object.contains(name) && !object.at(name).is_null();
  check(is_there == taken.has_value(), "a field is taken if it is there");
  if (taken) check(object.at(name).get<Field>() == *taken, "a field is taken as it is");
}

void check_taken(const std::string& text, const Json& object, const Body& body) {
  check_field(object, "acquire_timeout_s", body.acquire_timeout_s);
  check_field(object, "timeout_s", body.timeout_s);
  check_field(object, "lease_ttl_s", body.lease_ttl_s);
  check_field(object, "limit", body.limit);
  check_field(object, "token", body.token);
  check_field(object, "shared", body.shared);
  check_field(object, "stable_ref", body.stable_ref);
  check_field(object, "name", body.name);
  // Without the library.
  for (const auto& number :
       {body.acquire_timeout_s, body.timeout_s, body.lease_ttl_s, body.limit}) {
    check(!number || text.find(std::to_string(*number)) != std::string::npos,
          "a number stands in the body");
  }
  if (body.token && text.find('\\') == std::string::npos) {
    check(text.find('"' + *body.token + '"') != std::string::npos, "a token stands in the body");
  }
  const std::size_t end = text.find_last_not_of(" \t\r\n");
  check(end != std::string::npos && text[end] == '}', "nothing stands behind the object");
}

void check_failure(const Failure& failure) {
  check(failure.status == 400 && failure.code == "bad_request", "a bad body is a bad request");
  check(!failure.detail.empty() && failure.detail.size() < 1'000, "a failure says briefly why");
  const Json told = Json::parse(to_response(failure).body, nullptr, false);
  check(told.is_object() && told.value("error", "") == "bad_request" && told.contains("detail"),
        "a failure is told in JSON");
}

/// Whatever the bytes are, they can be told as a JSON string.
void check_string(const std::string& text) {
  const Json told = Json::parse(dflockd::base::json_string(text), nullptr, false);
  check(told.is_string(), "any bytes can be told as a string");
  const Json again = Json::parse(dflockd::base::json_string(told.get<std::string>()));
  check(again == told, "a string of valid UTF-8 is told as it is");
  const bool is_ascii = std::ranges::all_of(text, [](char c) { return c >= 0; });
  check(!is_ascii || told.get<std::string>() == text, "ASCII is told as it is");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const auto kind = input.ConsumeIntegralInRange<std::size_t>(0, kAllowed.size() - 1);
  const std::string text = input.ConsumeRemainingBytesAsString();

  const Parsed parsed = parse(text, kind);
  const std::optional<Json> object = read_object(text);
  const bool should_be_taken = object && is_allowed(*object, kAllowed[kind]);
  check(std::holds_alternative<Body>(parsed) == should_be_taken,
        "a body is taken if it is an object of allowed fields");
  if (const auto* const body = std::get_if<Body>(&parsed)) check_taken(text, *object, *body);
  if (const auto* const failure = std::get_if<Failure>(&parsed)) check_failure(*failure);
  check_string(text);
  return 0;
}
