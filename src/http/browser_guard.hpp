// Keeps a page that somebody else wrote from using a server that its reader can reach. A browser
// says in `Origin` whose page it is that asks, and in `Host` by what name it found the server:
//
//   BrowserGuard guard(allowed_hosts, allowed_origins);
//   if (auto failure = guard.check(request, {.tls = true}, [&] { return address_text(socket); })) …
//
// A page of another origin is refused whatever it asks for: it could send requests even though it
// may not read the answers. Where no secret is demanded, a `Host` that does not name this server is
// refused too: a page whose own name resolves to 127.0.0.1 (DNS rebinding) passes for one of this
// server. Immutable, so any thread may use it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/authority.hpp"
#include "http/message.hpp"

namespace dflockd::http {

class BrowserGuard {
 public:
  /// `allowed_hosts` are names and addresses without ports, IPv6 without brackets. Of
  /// `allowed_origins` "*" is any.
  BrowserGuard(const std::vector<std::string>& allowed_hosts,
               std::vector<std::string> allowed_origins);

  /// How a request arrived.
  struct Circumstances {
    bool tls = false;
    bool has_secret = false;  ///< the server demands one
    bool is_probe = false;    ///< the route answers for any `Host`
  };

  /// Why the request is refused with 403, if it is. `local_address` returns the text of the address
  /// that the connection came to; it is called only if that may matter.
  template <class LocalAddress>
  [[nodiscard]] std::optional<Failure> check(const Request& request,
                                             const Circumstances& circumstances,
                                             const LocalAddress& local_address) const {
    std::optional<Authority> host;
    if (request.host) host = parse_authority(*request.host);
    const bool any_host = circumstances.has_secret || circumstances.is_probe || !request.host;
    if (!any_host && !(host && (is_known(*host) || is_at(*host, local_address())))) {
      return forbidden_host(*request.host);
    }
    if (request.origin && !allows(*request.origin) &&
        !(host && is_own(*request.origin, *host, circumstances.tls))) {
      return forbidden_origin(*request.origin);
    }
    return std::nullopt;
  }

  /// Whether pages of this origin, which is not the server's own, may use it.
  [[nodiscard]] bool allows(std::string_view origin) const;
  /// Whether there are any such origins.
  [[nodiscard]] bool has_cors() const { return !allowed_origins_.empty(); }

 private:
  [[nodiscard]] bool is_known(const Authority& host) const;
  [[nodiscard]] static bool is_at(const Authority& host, std::string_view address);
  [[nodiscard]] static bool is_own(std::string_view origin, const Authority& host, bool tls);
  [[nodiscard]] static Failure forbidden_host(std::string_view host);
  [[nodiscard]] static Failure forbidden_origin(std::string_view origin);

  std::vector<IpAddress> allowed_addresses_;
  std::vector<std::string> allowed_names_;
  std::vector<std::string> allowed_origins_;
};

}  // namespace dflockd::http
