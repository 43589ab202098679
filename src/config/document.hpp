// A configuration text as a flat list of named values: the one place where TOML is seen. Knows nothing of which keys
// exist or what they mean; that is keys.hpp and assign.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace concerto::config {

/// A table; its members are entries of their own.
struct TableMark {};
/// A date, a time, or something nested in a list: nothing any key takes.
struct Foreign {
  std::string type;  ///< as messages call it: "a date", "a list", ...
};

using Scalar = std::variant<bool, std::int64_t, double, std::string, Foreign>;
using List = std::vector<Scalar>;
using Value = std::variant<bool, std::int64_t, double, std::string, Foreign, List, TableMark>;

struct Entry {
  std::string name;  ///< dotted: "model.rank"
  Value value;
  std::string where;  ///< "run.toml:3", or "--set model.rank=0"
  std::uint32_t line = 0;
};

/// What a message calls the type of a value: "text", "a whole number", ...
[[nodiscard]] std::string type_name(const Value& value);
/// The value as a message shows it: `"cg"`, `0.5`; empty for lists, tables and foreign values.
[[nodiscard]] std::string shown(const Value& value);

/// Every table and key of a TOML text, in the order of their lines (a table before its members). A syntax error is
/// Error{kBadInput} with file, line and column.
[[nodiscard]] std::vector<Entry> read_document(std::string_view text, std::string_view name);

/// A table with its members in the order of their lines, for texts with lists of tables in them.
struct TableNode {
  struct Member {
    std::string name;
    Value value;
    std::vector<TableNode> tables;  ///< of a table itself; of a list of tables, all of them
    std::string where;              ///< "sweep.toml:3"
    std::uint32_t line = 0;
  };
  std::vector<Member> members;
  std::string where;
};

/// A TOML text as a tree; errors as of read_document. What is deeper than any document of ours goes is left out.
[[nodiscard]] TableNode read_tables(std::string_view text, std::string_view name);

/// The text of a file that is no larger than any document of ours. Error{kBadInput, kIo} naming the file; `what` it is,
/// such as "configuration".
[[nodiscard]] std::string read_document_file(const std::filesystem::path& file, std::string_view what);

/// How a bare word of an override is taken.
enum class BareWords {
  kValue,  ///< as a TOML value where it is one, else as text
  kText,   ///< always as text: `output.model=2024` names a directory
  kList,   ///< as texts separated by commas
};

/// How messages name an override: "--set model.rank=0".
[[nodiscard]] std::string override_place(std::string_view text);
/// The part of an override before the first `=`, without spaces around it. Error{kBadInput} where there is none.
[[nodiscard]] std::string override_name(const std::string& text);
/// Nothing after the `=`: the key goes back to its default.
[[nodiscard]] bool is_reset(const std::string& text);
/// The entries of an override `name=value`: one, or more where the value is an inline table.
[[nodiscard]] std::vector<Entry> read_override(const std::string& text, BareWords bare_words);

}  // namespace concerto::config
