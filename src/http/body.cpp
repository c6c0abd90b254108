#include "http/body.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/json.hpp"
#include "base/terms.hpp"

namespace dflockd::http {

namespace {

using Json = nlohmann::json;

template <class Value>
struct Field {
  std::string_view name;
  std::optional<Value> Body::*field;
};

constexpr std::array kNumbers{
    Field<std::uint64_t>{"acquire_timeout_s", &Body::acquire_timeout_s},
    Field<std::uint64_t>{"timeout_s", &Body::timeout_s},
    Field<std::uint64_t>{"lease_ttl_s", &Body::lease_ttl_s},
    Field<std::uint64_t>{"limit", &Body::limit},
};
constexpr std::array kFlags{
    Field<bool>{"shared", &Body::shared},
};
constexpr std::array kTexts{
    Field<std::string>{"token", &Body::token},
    Field<std::string>{"stable_ref", &Body::stable_ref},
    Field<std::string>{"name", &Body::name},
};

template <class Fields>
bool has(const Fields& fields, std::string_view name) {
  return std::ranges::any_of(fields, [&](const auto& field) { return field.name == name; });
}

/// How much of a field's name is shown.
constexpr std::size_t kShown = 64;

/// Hears what the parser finds, and stops it at the first thing that is not allowed.
class Reader final : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(std::initializer_list<std::string_view> allowed) : allowed_(allowed) {}

  Body body;
  std::string problem;

  bool key(string_t& name) override {
    const auto* const allowed = std::ranges::find(allowed_, std::string_view(name));
    if (allowed == allowed_.end()) {
      return refuse("unknown field " + base::json_string(std::string_view(name).substr(0, kShown)));
    }
    field_ = name;
    const unsigned int bit = 1U << static_cast<unsigned int>(allowed - allowed_.begin());
    if ((given_ & bit) != 0) return refuse(field_ + ": given twice");
    given_ |= bit;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override { return take(kNumbers, value); }
  bool boolean(bool value) override { return take(kFlags, value); }
  bool string(string_t& value) override { return take(kTexts, value); }
  bool start_object(std::size_t) override {
    if (in_object_) return wrong_type();
    in_object_ = true;
    return true;
  }
  bool end_object() override { return true; }
  bool null() override { return in_object_ || wrong_type(); }

  bool number_integer(number_integer_t) override { return wrong_type(); }
  bool number_float(number_float_t, const string_t&) override { return wrong_type(); }
  bool binary(binary_t&) override { return wrong_type(); }
  bool start_array(std::size_t) override { return wrong_type(); }
  bool end_array() override { return wrong_type(); }

  bool parse_error(std::size_t at, const std::string&,
                   const nlohmann::detail::exception&) override {
    return refuse("the body is not a JSON object: error at byte " + std::to_string(at));
  }

 private:
  /// Sets the field that the value is of, if it is one of `fields`.
  template <class Fields, class Value>
  bool take(const Fields& fields, const Value& value) {
    for (const auto& field : fields) {
      if (!in_object_ || field.name != field_) continue;
      body.*field.field = value;
      return true;
    }
    return wrong_type();
  }
  bool refuse(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool wrong_type() {
    if (!in_object_) return refuse("the body is not a JSON object");
    if (has(kTexts, field_)) return refuse(field_ + ": expected a string");
    if (has(kFlags, field_)) return refuse(field_ + ": expected true or false");
    return refuse(field_ + ": expected an integer from 0");
  }

  std::initializer_list<std::string_view> allowed_;
  std::string field_;
  unsigned int given_ = 0;  ///< a bit for each of `allowed_`
  bool in_object_ = false;
};

}  // namespace

std::variant<Body, Failure> parse_body(std::string_view text,
                                       std::initializer_list<std::string_view> allowed) {
  // The parser would take it for the end of the text, and not look at what follows.
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    return Failure{.detail = "the body is not JSON: a null byte at byte " + std::to_string(at + 1)};
  }
  Reader reader(allowed);
  if (!Json::sax_parse(text, &reader)) return Failure{.detail = reader.problem};
  return std::move(reader.body);
}

std::variant<Identity, Failure> read_identity(std::string_view text) {
  if (text.empty()) return Identity{};
  auto parsed = parse_body(text, {"stable_ref", "name"});
  if (auto* const failure = std::get_if<Failure>(&parsed)) return std::move(*failure);
  Body& body = std::get<Body>(parsed);
  if (body.stable_ref && !base::is_ref(*body.stable_ref)) {
    return Failure{.detail = "stable_ref: expected 1 to 64 printable ASCII characters"};
  }
  if (body.name && !base::is_name(*body.name)) {
    return Failure{.detail = "name: expected 1 to 128 bytes without control characters"};
  }
  return Identity{std::move(body.stable_ref).value_or(""), std::move(body.name).value_or("")};
}

}  // namespace dflockd::http
