// Where the expected answer stands among others.
#pragma once

#include <span>

namespace shadowattn::tool::eval {

/// Rank of the first of `nlls` among them, 1 for the lowest; equal ones share the better rank. 0
/// for none.
int rank_of_first(std::span<const double> nlls);

/// Share of the ranks that are at most `limit`, of those that are not 0; 0 when all are.
double top_share(std::span<const int> ranks, int limit);

}  // namespace shadowattn::tool::eval
