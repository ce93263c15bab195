// The report: one page of HTML with the result of a comparison in it, which needs no network.
//
// The page is built by report/build.mjs and becomes a part of the command; here the data is put
// into it. A build without METE_BUILD_REPORT has no page.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace mete::cli {

// Throws command_error where this build has no page.
void check_report();

// The page with this data; the same.
std::string report_of(const std::string& json);

} // namespace mete::cli
