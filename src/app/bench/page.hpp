// The page of a sweep: results.json as one HTML file that a browser opens from the disk, without a network.
//
// The page is a skeleton, a style sheet and scripts (the folder page/, and Chart.js), which this program carries, and
// the results as they are: all that a person reads is made of them in the browser. Nothing is measured or judged here.
#pragma once

#include <string>

namespace concerto::bench {

/// `results_json`: what `concerto bench` writes, be it incomplete. Error{kCorrupt} saying what is wrong where, of text
/// that is no such thing; the name of the file is the caller's to add.
[[nodiscard]] std::string page_of(const std::string& results_json);

}  // namespace concerto::bench
