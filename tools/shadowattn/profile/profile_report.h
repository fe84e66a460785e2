// What a profile says, in a table for people.
#pragma once

#include <string>

#include "shadowattn/profile.h"

namespace shadowattn::tool {

/// "8 rows, shared", "4 rows", "dense".
std::string lists_text(const ListShape& lists);

/// Predicted time of attention with the profile's lists, and with one shape for all heads, each
/// relative to dense attention: lines of a table. Empty when nothing was measured.
std::string profile_summary(const Profile& profile);

}  // namespace shadowattn::tool
