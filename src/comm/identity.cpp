// Identities as URIs, and who may write which keys.
#include "concerto/comm/identity.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "concerto/comm/job_environment.hpp"

namespace concerto {
namespace {

constexpr std::string_view kScheme = "concerto://";

/// Takes what stands before the next '/', and the slash; nothing without one.
std::optional<std::string_view> take_part(std::string_view& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view part = text.substr(0, slash);
  text.remove_prefix(slash + 1);
  return part;
}

/// A number as it is written: no sign, no leading zeros.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size() || (text.size() > 1 && text.front() == '0')) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::string to_uri(const Identity& identity) {
  if (identity.role == Role::kLauncher) return fmt::format("{}{}/launcher/{}", kScheme, identity.job, identity.index);
  return fmt::format("{}{}/rank/{}/{}", kScheme, identity.job, identity.index, identity.incarnation);
}

std::optional<Identity> parse_identity(std::string_view uri) {
  if (!uri.starts_with(kScheme)) return std::nullopt;
  uri.remove_prefix(kScheme.size());
  Identity identity;
  const auto job = take_part(uri);
  const auto role = take_part(uri);
  if (!job || !role || !is_job_name(*job)) return std::nullopt;
  identity.job = *job;
  if (*role == "launcher") {
    const auto index = parse_number<std::uint32_t>(uri);
    if (!index) return std::nullopt;
    identity.role = Role::kLauncher;
    identity.index = *index;
    return identity;
  }
  if (*role != "rank") return std::nullopt;
  const auto rank = take_part(uri);
  const auto index = rank ? parse_number<std::uint32_t>(*rank) : std::nullopt;
  const auto incarnation = parse_number<Incarnation>(uri);
  if (!index || !incarnation) return std::nullopt;
  identity.index = *index;
  identity.incarnation = *incarnation;
  return identity;
}

std::string to_string(const Identity& identity) {
  return fmt::format("{} {}", identity.role == Role::kLauncher ? "launcher" : "rank", identity.index);
}

bool may_write(const Identity& who, std::string_view key) {
  if (who.role == Role::kLauncher) return true;
  const std::string own = fmt::format("ranks/{}/", who.index);
  return key.size() > own.size() && key.starts_with(own);
}

}  // namespace concerto
