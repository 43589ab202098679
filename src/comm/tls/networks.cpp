// Which wires a network has.
#include "concerto/comm/networks.hpp"

#include "concerto/base/error.hpp"

#include "joining_network.hpp"
#include "keys.hpp"
#include "plain_wire.hpp"
#include "stream_network.hpp"
#include "tls_wire.hpp"

namespace concerto {

std::unique_ptr<Network> make_tls_network(const Credentials& credentials, const NetworkLimits& limits,
                                          StrangerHandler on_stranger) {
  tls::WireMaker wires = tls::tls_wires(credentials, static_cast<bool>(on_stranger));
  const auto self = tls::identity_of(tls::certificate_of(credentials.certificate).get());
  if (!self) throw Error(ErrorCode::kBadInput, "the certificate names no process of a job", "credentials");
  return std::make_unique<tls::StreamNetwork>(self->job, std::move(wires), limits, std::move(on_stranger));
}

std::unique_ptr<Network> make_plain_network(const Identity& self, const NetworkLimits& limits) {
  return std::make_unique<tls::StreamNetwork>(self.job, tls::plain_wires(self), limits);
}

std::unique_ptr<Network> tls::make_joining_network(const std::string& job, const std::string& fingerprint,
                                                   const NetworkLimits& limits) {
  return std::make_unique<StreamNetwork>(job, joining_wires(fingerprint), limits);
}

}  // namespace concerto
