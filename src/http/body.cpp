#include "http/body.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/json.hpp"

namespace dflockd::http {

namespace {

using Json = nlohmann::json;

struct Number {
  std::string_view name;
  std::optional<std::uint64_t> Body::*field;
};

constexpr std::array kNumbers{
    Number{"acquire_timeout_s", &Body::acquire_timeout_s},
    Number{"timeout_s", &Body::timeout_s},
    Number{"lease_ttl_s", &Body::lease_ttl_s},
    Number{"limit", &Body::limit},
};
constexpr std::string_view kToken = "token";

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
  bool number_unsigned(number_unsigned_t value) override {
    const auto* const number = std::ranges::find(kNumbers, std::string_view(field_), &Number::name);
    if (!in_object_ || number == kNumbers.end()) return wrong_type();
    body.*number->field = value;
    return true;
  }
  bool string(string_t& value) override {
    if (!in_object_ || field_ != kToken) return wrong_type();
    body.token = value;
    return true;
  }
  bool start_object(std::size_t) override {
    if (in_object_) return wrong_type();
    in_object_ = true;
    return true;
  }
  bool end_object() override { return true; }
  bool null() override { return in_object_ || wrong_type(); }

  bool boolean(bool) override { return wrong_type(); }
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
  bool refuse(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool wrong_type() {
    if (!in_object_) return refuse("the body is not a JSON object");
    return refuse(field_ == kToken ? "token: expected a string"
                                   : field_ + ": expected an integer from 0");
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

}  // namespace dflockd::http
