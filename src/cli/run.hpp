// `mete run`: runs a program on mete.
//
// It becomes the program (exec), it does not watch over it: process id, terminal, job control,
// signals, standard streams and exit status are the program's own, with nothing in between.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace mete::cli {

// `arguments` without "mete run". Returns an exit status when no program was started.
int run_command(const std::vector<std::string>& arguments);

} // namespace mete::cli
