// Facts of this process and its machine, from the operating system and the files of the configuration.
#pragma once

#include <optional>
#include <string>

#include "concerto/comm/job_environment.hpp"
#include "concerto/config/config.hpp"

#include "facts.hpp"

namespace concerto::doctor {

/// Everything but the store, its certificate and other ranks. `has_config`: data, memory and output are looked at too.
/// Opens prepared data; reads the first lines of other files.
[[nodiscard]] Facts gather(const Config& config, bool has_config, const std::optional<JobEnvironment>& job);

/// How long a certificate (PEM) is good for; `what` names it.
[[nodiscard]] CertificateFacts look_at_certificate(const std::string& pem, const std::string& what);

}  // namespace concerto::doctor
