// The job's certificate authority, and how a process gets the credentials that it issued.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "concerto/base/result.hpp"
#include "concerto/comm/identity.hpp"

struct evp_pkey_st;  // OpenSSL's key

namespace concerto {

using WallTime = std::chrono::system_clock::time_point;

/// From when to when a certificate is good.
struct Validity {
  WallTime from;
  WallTime until;
};
/// Of the first certificate in a PEM text. Error{kBadInput} naming `where` where there is none.
[[nodiscard]] Validity validity_of(const std::string& pem, const std::string& where);

/// An authority that lives in the memory of the first launcher and ends with it: ECDSA P-256. Its key is never written.
class JobAuthority {
 public:
  /// Makes a key. Error{kBadInput} for a name that can be no job's.
  explicit JobAuthority(const std::string& job);
  ~JobAuthority();
  JobAuthority(JobAuthority&&) noexcept;

  /// A new key and a certificate of it for `identity`, valid from an hour ago (clocks differ) for a week.
  /// Error{kBadInput} for an identity of another job.
  [[nodiscard]] Credentials issue(const Identity& identity) const;
  /// The same certificate (PEM) for the key of a request (PKCS #10, DER) of which nothing else is looked at. kCorrupt
  /// for bytes that are no request or one not signed by its own key; kRefused for a key that is not on P-256.
  [[nodiscard]] Result<std::string> sign(std::string_view request, const Identity& identity) const;
  /// The authority's own certificate, PEM, and the SHA-256 of it in lower-case hexadecimal digits.
  [[nodiscard]] const std::string& certificate() const noexcept;
  [[nodiscard]] std::string fingerprint() const;

 private:
  [[nodiscard]] std::string certify(evp_pkey_st& key, const Identity& identity) const;
  struct State;
  std::unique_ptr<State> state_;
};

/// Credentials as one text (three PEM blocks), and back; Error{kBadInput} naming `where` for anything else.
[[nodiscard]] std::string to_text(const Credentials& credentials);
[[nodiscard]] Credentials parse_credentials(const std::string& text, const std::string& where);

/// Writes a new file that only its user can read. Error{kIo}, also where there is such a file already.
void write_credentials(const Credentials& credentials, const std::filesystem::path& file);
/// From a file that belongs to this user and that nobody else can read or write, or from an inherited descriptor
/// "fd:N", which is read to its end and closed. Error{kBadInput} naming `place` and what is wrong with it.
[[nodiscard]] Credentials read_credentials(const std::string& place);

}  // namespace concerto
